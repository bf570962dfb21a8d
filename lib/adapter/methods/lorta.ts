import { RubricateError } from "../../errors";
import type { RedSite } from "../config";
import { defineMethod } from "../method";
import { checkedAlpha, checkedOption, rankKind } from "../method_options";
import { PlanBuilder } from "../plan";
import { uniform } from "../start";

export interface LortaOptions {
  /** Rank of the tensor, 1 to 8,192. Default: 8. */
  readonly rank?: number;
  /** The update is multiplied by alpha / rank. Default: 16. */
  readonly alpha?: number;
}

/** The matrices of a layer, in the order of their rows in C_m. */
const sites: readonly RedSite[] = ["q", "k", "v", "attention"];
/** Distinguishes these numbers from others of the same seed. */
const stream = 0x4c525441;

/**
 * LoRTA (Hounie et al., arXiv 2410.04060): one tensor of low rank updates the four projections of attention in all layers: at layer l
 * and matrix m, y += alpha / rank * B ((C_h C_m[m] C_l[l]) (A x)), by heads.
 */
export const lorta = defineMethod({
  kind: "lorta",
  options: ["rank", "alpha"],
  learningRate: 0.005,
  check({ rank = 8, alpha = 16 }: LortaOptions, base) {
    const widths = sites.map((site) => base.linear(0, site)).flatMap(({ inputs, outputs }) => [inputs, outputs]);
    if (new Set(widths).size > 1)
      throw new RubricateError(
        "ERR_ARGUMENT",
        `Expected a base whose q, k, v and attention are square and equally wide for the method lorta but received a model of ` +
          `model_type ${base.architecture.family} with widths ${[...new Set(widths)].join(" and ")}, as grouped heads have`,
      );
    return { rank: checkedOption("rank", rankKind, rank), alpha: checkedAlpha(alpha) };
  },
  plan({ rank, alpha }, base) {
    const builder = new PlanBuilder();
    const { hidden, stacks } = base.architecture;
    const { heads, head_dim } = stacks[0].attention;
    const a = builder.parameter("lorta_A", [rank, hidden], 0);
    const b = builder.parameter("lorta_B", [rank, head_dim], 0);
    const ofHeads = builder.parameter("lorta_C_heads", [heads, rank], 0);
    const ofMatrices = builder.parameter("lorta_C_matrices", [sites.length, rank], 0);
    const ofLayers = builder.parameter("lorta_C_layers", [base.layerCount, rank], 0);
    for (const layer of base.layers("all"))
      for (const [matrix, site] of sites.entries()) {
        const { name, outputs, at } = base.linear(layer, site);
        // A copy for each site: so the gradient of A does not depend on how sequences are split into micro-batches.
        const down = builder.derive({
          name: `${name}.lorta_down`,
          kind: "einsum",
          operands: [{ of: a, axes: "rd" }],
          axes: "rd",
          shape: [rank, hidden],
        });
        const up = builder.derive({
          name: `${name}.lorta_up`,
          kind: "einsum",
          operands: [
            { of: ofHeads, axes: "hr" },
            { of: ofMatrices, axes: "r", row: matrix },
            { of: ofLayers, axes: "r", row: layer },
            { of: b, axes: "rj" },
          ],
          axes: "hjr",
          shape: [outputs, rank],
        });
        builder.site({
          ...at,
          branch: [
            { op: "linear", weight: down },
            { op: "linear", weight: up },
            { op: "scale", by: Math.fround(alpha / rank) },
          ],
        });
      }
    return builder.plan;
  },
  *start({ parameters }, { rank }, seed) {
    for (const [index, { name, shape }] of parameters.entries()) {
      if (name === "lorta_B") continue;
      const bound = name === "lorta_A" ? 1 / Math.sqrt(shape[1]!) : Math.sqrt(6 / rank);
      yield [name, uniform(shape[0]! * shape[1]!, bound, seed, [stream, index])];
    }
  },
});
