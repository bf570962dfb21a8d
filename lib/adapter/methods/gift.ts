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
  readonly share?: "site" | "all";
}

const shareKind = choice(["site", "all"]);
/** Distinguishes these numbers from others of the same seed. */
const stream = 0x47494654;

/**
 * GIFT (Savadikar et al., arXiv 2312.00700) without an activation: y = W (x + (x Q) P), so that W' = W + W P^T Q^T: a change
 * of the weights that is made from the weights. Layers share Q and P. Q^T is `gift_down` [rank, inputs], which begins as 0, and P^T is
 * `gift_up` [inputs, rank].
 */
export const gift = defineMethod({
  kind: "gift",
  options: ["rank", "sites", "layers", "share"],
  check({ rank = 16, sites = ["q", "v"], layers = "all", share = "site" }: GiftOptions, base) {
    const config = {
      rank: checkedOption("rank", rankKind, rank),
      sites: base.sites(sites),
      layers: base.layers(layers),
      share: checkedOption("share", shareKind, share),
    };
    const widths = config.sites.map((site) => base.linear(0, site).inputs);
    if (share === "all" && widths.some((width) => width !== widths[0]))
      throw invalid("sites", 'sites whose inputs have the same width, with share "all",', sites);
    return config;
  },
  plan({ rank, sites, layers, share }, base) {
    const builder = new PlanBuilder();
    const matrices = new Map<string, readonly [down: number, up: number]>();
    const matricesOf = ({ at: { site }, inputs }: LinearSite) => {
      const owner = share === "all" ? "all" : site;
      const known = matrices.get(owner) ?? [
        builder.parameter(`${owner}.gift_down`, [rank, inputs], 0),
        builder.parameter(`${owner}.gift_up`, [inputs, rank], 0),
      ];
      matrices.set(owner, known);
      return known;
    };
    for (const layer of layers)
      for (const site of sites) {
        const linear = base.linear(layer, site);
        const [down, up] = matricesOf(linear);
        builder.site({
          ...linear.at,
          input: [{ op: "linear", weight: down }, { op: "linear", weight: up }, { op: "residual" }],
        });
      }
    return builder.plan;
  },
  *start({ parameters }, _, seed) {
    for (const [index, { name, shape }] of parameters.entries())
      if (name.endsWith(".gift_up"))
        yield [name, uniform(shape[0]! * shape[1]!, 1 / Math.sqrt(shape[0]!), seed, [stream, index])];
  },
});
