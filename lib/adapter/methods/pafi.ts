import { inSlices } from "../../steps";
import type { RedSite } from "../config";
import { defineMethod } from "../method";
import { smallestEntries } from "../smallest_entries";
import { checkedShare, sparsePlan } from "../sparse_plan";

export interface PafiOptions {
  /** The share of each matrix's entries that is trained, above 0, at most 1. Default: 0.005. */
  readonly share?: number;
  /** The linear layers. Default: all that the base has. */
  readonly sites?: readonly RedSite[];
  /** Layer numbers from 0. Default: "all". */
  readonly layers?: readonly number[] | "all";
}

/**
 * PaFi (Liao et al., arXiv 2305.16742): the entries of smallest magnitude of each matrix of the base are trained, W' = W + S. The
 * entries depend on the base alone.
 */
export const pafi = defineMethod({
  kind: "pafi",
  options: ["share", "sites", "layers"],
  check: ({ share = 0.005, sites, layers = "all" }: PafiOptions, base) => ({
    share: checkedShare(share),
    sites: base.sites(sites ?? base.siteNames),
    layers: base.layers(layers),
  }),
  plan: ({ share, ...where }, base) => sparsePlan(where, base, share),
  choose: (weight, { count }) => inSlices(smallestEntries(weight, count!)),
});
