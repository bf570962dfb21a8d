import { RubricateError } from "../../errors";
import type { RedSite } from "../config";
import { defineMethod } from "../method";
import { activationKind, checkedOption, rankKind } from "../method_options";
import { type PlanActivation, PlanBuilder } from "../plan";
import { uniform } from "../start";

export interface HiwiOptions {
  /** Width of the adapter's inner vector, 1 to 8,192. Default: 8. */
  readonly rank?: number;
  /** Default: "relu". */
  readonly activation?: PlanActivation;
  /** Linear layers whose biases are changed. Default: ["up", "ffn"]. */
  readonly sites?: readonly RedSite[];
  /** Layer numbers from 0. Default: "all". */
  readonly layers?: readonly number[] | "all";
}

/** Distinguishes these numbers from others of the same seed. */
const stream = 0x48495749;

/**
 * HiWi on biases (Liao et al., arXiv 2305.16742): b' = b + up(f(down(b))) for the bias b of a linear layer: an adapter of the bias, so
 * that answering costs nothing.
 */
export const hiwi = defineMethod({
  kind: "hiwi",
  options: ["rank", "activation", "sites", "layers"],
  learningRate: 0.005,
  check({ rank = 8, activation = "relu", sites = ["up", "ffn"], layers = "all" }: HiwiOptions, base) {
    const config = {
      rank: checkedOption("rank", rankKind, rank),
      activation: checkedOption("activation", activationKind, activation),
      sites: base.sites(sites),
      layers: base.layers(layers),
    };
    const without = config.sites.filter((site) => !base.tensors.includes(`${base.linear(0, site).name}.bias`));
    if (without.length === 0) return config;
    throw new RubricateError(
      "ERR_ARGUMENT",
      `Expected a base that has biases at ${config.sites.join(", ")} for the method hiwi but received a model of model_type ` +
        `${base.architecture.family} without any at ${without.join(", ")}; RED's variant "bias" adds some`,
    );
  },
  plan({ rank, activation, sites, layers }, base) {
    const builder = new PlanBuilder();
    for (const layer of layers)
      for (const site of sites) {
        const { name, outputs, at } = base.linear(layer, site);
        const bias = builder.constantOfBase(`${name}.bias`, outputs);
        const down = builder.parameter(`${name}.hiwi_down`, [rank, outputs], 0);
        const up = builder.parameter(`${name}.hiwi_up`, [outputs, rank], 0);
        const inner = builder.derive({
          name: `${name}.hiwi_inner`,
          kind: "einsum",
          operands: [
            { of: { constant: bias }, axes: "d" },
            { of: down, axes: "rd" },
          ],
          axes: "r",
          shape: [rank],
        });
        const activated = builder.derive({
          name: `${name}.hiwi_activated`,
          kind: "activation",
          of: inner,
          activation,
          shape: [rank],
        });
        const change = builder.derive({
          name: `${name}.hiwi_change`,
          kind: "einsum",
          operands: [
            { of: up, axes: "dr" },
            { of: activated, axes: "r" },
          ],
          axes: "d",
          shape: [outputs],
        });
        builder.site({ ...at, bias: change });
      }
    return builder.plan;
  },
  *start({ parameters }, _, seed) {
    for (const [index, { name, shape }] of parameters.entries())
      if (name.endsWith(".hiwi_down"))
        yield [name, uniform(shape[0]! * shape[1]!, 1 / Math.sqrt(shape[1]!), seed, [stream, index])];
  },
});
