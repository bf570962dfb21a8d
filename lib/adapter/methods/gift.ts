import { invalid } from "../../errors";
import { choice } from "../../option_kinds";
import type { RedSite } from "../config";
import { defineMethod } from "../method";
import type { LinearSite } from "../method_base";
import { checkedOption, rankKind } from "../method_options";
import { PlanBuilder } from "../plan";
import { uniform } from "../start";

export interface GiftOptions {
  /** Rank of the change, 1 to 8,192. Default: 16. */
  readonly rank?: number;
  /** The linear layers whose input is changed. Default: ["q", "v"]. */
  readonly sites?: readonly RedSite[];
  /** Layer numbers from 0. Default: "all". */
  readonly layers?: readonly number[] | "all";
  /** Which linear layers have the same matrices: those of one site in all layers, or all. Default: "site". */
  readonly sharing?: "site" | "all";
}

const sharingKind = choice(["site", "all"]);
/** Distinguishes these numbers from others of the same seed. */
const stream = 0x47494654;

/**
 * GIFT (Savadikar et al., arXiv 2312.00700) without an activation: y = W (x + (x Q) P), so that W' = W + W P^T Q^T: a change
 * of the weights that is made from the weights. Layers share Q [inputs, rank], which begins as 0, and P [rank, inputs].
 */
export const gift = defineMethod({
  kind: "gift",
  options: ["rank", "sites", "layers", "sharing"],
  check({ rank = 16, sites = ["q", "v"], layers = "all", sharing = "site" }: GiftOptions, base) {
    const config = {
      rank: checkedOption("rank", rankKind, rank),
      sites: base.sites(sites),
      layers: base.layers(layers),
      sharing: checkedOption("sharing", sharingKind, sharing),
    };
    const widths = config.sites.map((site) => base.linear(0, site).inputs);
    if (sharing === "all" && widths.some((width) => width !== widths[0]))
      throw invalid("sites", 'sites whose inputs have the same width, with sharing "all",', sites);
    return config;
  },
  plan({ rank, sites, layers, sharing }, base) {
    const builder = new PlanBuilder();
    const matrices = new Map<string, readonly [q: number, p: number]>();
    const matricesOf = ({ at: { site }, inputs }: LinearSite) => {
      const owner = sharing === "all" ? "all" : site;
      const known = matrices.get(owner) ?? [
        builder.parameter(`${owner}.gift_Q`, [inputs, rank], 0),
        builder.parameter(`${owner}.gift_P`, [rank, inputs], 0),
      ];
      matrices.set(owner, known);
      return known;
    };
    for (const layer of layers)
      for (const site of sites) {
        const linear = base.linear(layer, site);
        const [q, p] = matricesOf(linear);
        // Copies for each site: so the gradients do not depend on how sequences are split into micro-batches.
        const transposed = (of: number, own: string, shape: readonly [number, number]) =>
          builder.derive({
            name: `${linear.name}.${own}`,
            kind: "einsum",
            operands: [{ of, axes: "ab" }],
            axes: "ba",
            shape,
          });
        builder.site({
          ...linear.at,
          input: [
            { op: "linear", weight: transposed(q, "gift_down", [rank, linear.inputs]) },
            { op: "linear", weight: transposed(p, "gift_up", [linear.inputs, rank]) },
            { op: "residual" },
          ],
        });
      }
    return builder.plan;
  },
  *start({ parameters }, _, seed) {
    for (const [index, { name, shape }] of parameters.entries())
      if (name.endsWith(".gift_P"))
        yield [name, uniform(shape[0]! * shape[1]!, 1 / Math.sqrt(shape[1]!), seed, [stream, index])];
  },
});
