import { RubricateError } from "../../errors";
import { choice } from "../../option_kinds";
import type { RedSite } from "../config";
import { defineMethod } from "../method";
import type { LinearSite, MethodBase } from "../method_base";
import { activationKind, checkedOption, rankKind } from "../method_options";
import { type PlanActivation, PlanBuilder } from "../plan";
import { uniform } from "../start";

export interface HiwiOptions {
  /** What has an adapter: the biases, or the weights. Default: "biases" if the base has some at all `sites`, else "weights". */
  readonly target?: "biases" | "weights";
  /** Width of the adapter's inner vector, 1 to 8,192. Default: 8. */
  readonly rank?: number;
  /** Default: "relu". */
  readonly activation?: PlanActivation;
  /** Linear layers whose biases or weights are changed. Default: ["up", "ffn"]. */
  readonly sites?: readonly RedSite[];
  /** Layer numbers from 0. Default: "all". */
  readonly layers?: readonly number[] | "all";
}

const targetKind = choice(["biases", "weights"]);
/** Distinguishes these numbers from others of the same seed. */
const stream = 0x48495749;

/** Sites without a bias. */
const sitesWithout = (sites: readonly RedSite[], base: MethodBase) =>
  sites.filter((site) => !base.tensors.includes(`${base.linear(0, site).name}.bias`));

/** The parameters of one adapter. */
const parametersOf = (builder: PlanBuilder, { name, outputs }: LinearSite, rank: number) => ({
  down: builder.parameter(`${name}.hiwi_down`, [rank, outputs], 0),
  up: builder.parameter(`${name}.hiwi_up`, [outputs, rank], 0),
});

/** b' = b + up f(down b). */
function addBias(builder: PlanBuilder, linear: LinearSite, rank: number, activation: PlanActivation): void {
  const { name, outputs, at } = linear;
  const bias = builder.constantOfBase(`${name}.bias`, outputs);
  const { down, up } = parametersOf(builder, linear, rank);
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
    ...{ name: `${name}.hiwi_activated`, kind: "activation", of: inner, activation },
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

/** W' = W + up f(down W): y += up (f(down W) x). */
function addWeight(builder: PlanBuilder, linear: LinearSite, rank: number, activation: PlanActivation): void {
  const { name, inputs, at } = linear;
  const { down, up } = parametersOf(builder, linear, rank);
  const shape = [rank, inputs];
  const inner = builder.derive({
    ...{ name: `${name}.hiwi_inner`, kind: "weight_product", of: down, ...at, along: "outputs" },
    shape,
  });
  const activated = builder.derive({
    ...{ name: `${name}.hiwi_activated`, kind: "activation", of: inner, activation },
    shape,
  });
  builder.site({
    ...at,
    branch: [
      { op: "linear", weight: activated },
      { op: "linear", weight: up },
    ],
  });
}

/**
 * HiWi (Liao et al., arXiv 2305.16742): an adapter of the parameters instead of the hidden states, b' = b + up(f(down(b))) for the bias b of
 * a linear layer, or W' = W + up f(down W) for its weight, so that answering costs nothing after a merge.
 */
export const hiwi = defineMethod({
  kind: "hiwi",
  options: ["target", "rank", "activation", "sites", "layers"],
  learningRate: 0.005,
  check({ target, rank = 8, activation = "relu", sites = ["up", "ffn"], layers = "all" }: HiwiOptions, base) {
    const config = {
      rank: checkedOption("rank", rankKind, rank),
      activation: checkedOption("activation", activationKind, activation),
      sites: base.sites(sites),
      layers: base.layers(layers),
    };
    if (target !== undefined) checkedOption("target", targetKind, target);
    const without = sitesWithout(config.sites, base);
    // Folders of biases have no target: those of earlier versions are read too.
    if (target === "weights" || (target === undefined && without.length > 0))
      return { target: "weights" as const, ...config };
    if (without.length === 0) return config;
    throw new RubricateError(
      "ERR_ARGUMENT",
      `Expected a base that has biases at ${config.sites.join(", ")} for the method hiwi with target "biases" but received a model ` +
        `of model_type ${base.architecture.family} without any at ${without.join(", ")}; the target "weights" needs none, and RED's ` +
        'variant "bias" adds some',
    );
  },
  plan(config, base) {
    const { rank, activation, sites, layers } = config;
    const builder = new PlanBuilder();
    const add = "target" in config ? addWeight : addBias;
    for (const layer of layers) for (const site of sites) add(builder, base.linear(layer, site), rank, activation);
    return builder.plan;
  },
  *start({ parameters }, _, seed) {
    for (const [index, { name, shape }] of parameters.entries())
      if (name.endsWith(".hiwi_down"))
        yield [name, uniform(shape[0]! * shape[1]!, 1 / Math.sqrt(shape[1]!), seed, [stream, index])];
  },
});
