import { invalid } from "../../errors";
import { limits } from "../../limits";
import { integer } from "../../option_kinds";
import type { RedSite } from "../config";
import { defineMethod } from "../method";
import { checkedAlpha, checkedOption, rankKind } from "../method_options";
import { PlanBuilder } from "../plan";
import { uniform } from "../start";

export interface MeloraOptions {
  /** Rank of each small update, 1 to 8,192. Default: 1. */
  readonly rank?: number;
  /** Number of small updates side by side; it divides the widths of each site. Default: 8. */
  readonly groups?: number;
  /** The update is multiplied by alpha / rank. Default: 16. */
  readonly alpha?: number;
  /** The linear layers to update. Default: ["q", "v"]. */
  readonly sites?: readonly RedSite[];
  /** Layer numbers from 0. Default: "all". */
  readonly layers?: readonly number[] | "all";
}

const groupsKind = integer(1, limits.mostLoraRank);
/** Distinguishes these numbers from others of the same seed. */
const stream = 0x4d454c4f;

/**
 * MELoRA (Ren et al., arXiv 2402.17263): y += alpha / rank * B_g (A_g x_g), by slices x_g of the input and of the output: a
 * block-diagonal update of rank groups * rank.
 */
export const melora = defineMethod({
  kind: "melora",
  options: ["rank", "groups", "alpha", "sites", "layers"],
  learningRate: 0.005,
  check({ rank = 1, groups = 8, alpha = 16, sites = ["q", "v"], layers = "all" }: MeloraOptions, base) {
    const config = {
      rank: checkedOption("rank", rankKind, rank),
      groups: checkedOption("groups", groupsKind, groups),
      alpha: checkedAlpha(alpha),
      sites: base.sites(sites),
      layers: base.layers(layers),
    };
    for (const site of config.sites) {
      const { inputs, outputs } = base.linear(0, site);
      if (inputs % groups !== 0 || outputs % groups !== 0)
        throw invalid("groups", `a divisor of the widths of ${site}, ${inputs} and ${outputs},`, groups);
    }
    return config;
  },
  plan({ rank, groups, alpha, sites, layers }, base) {
    const builder = new PlanBuilder();
    for (const layer of layers)
      for (const site of sites) {
        const { name, inputs, outputs, at } = base.linear(layer, site);
        const a = builder.parameter(`${name}.melora_A`, [groups, rank, inputs / groups], 0);
        const b = builder.parameter(`${name}.melora_B`, [groups, outputs / groups, rank], 0);
        builder.site({
          ...at,
          branch: [
            { op: "block_linear", weight: a },
            { op: "block_linear", weight: b },
            { op: "scale", by: Math.fround(alpha / rank) },
          ],
        });
      }
    return builder.plan;
  },
  *start({ parameters }, _, seed) {
    for (const [index, { name, shape }] of parameters.entries())
      if (name.endsWith(".melora_A")) {
        const [groups, rank, inputs] = shape as [number, number, number];
        yield [name, uniform(groups * rank * inputs, 1 / Math.sqrt(inputs), seed, [stream, index])];
      }
  },
});
