import { invalid } from "../../errors";
import { limits } from "../../limits";
import { number } from "../../option_kinds";
import { inSlices } from "../../steps";
import type { RedSite } from "../config";
import { defineMethod } from "../method";
import { belowOne, checkedOption } from "../method_options";
import { entriesBelow, smallestEntries } from "../smallest_entries";
import { checkedShare, sparsePlan } from "../sparse_plan";

export interface SaraOptions {
  /** Entries of a smaller magnitude are trained; above 0. Default: 0.0001, unless there is a share. */
  readonly threshold?: number | null;
  /** In place of a threshold: the share of each matrix's entries that is trained, above 0, at most 1. */
  readonly share?: number | null;
  /**
   * The share of a run's steps after which entries that are no longer below the threshold are trained no more; 0: all are trained to the
   * end. Below 1. Default: 0.5.
   */
  readonly reselectAt?: number;
  /** Factor of the rank loss, 0 or more: the nuclear norm of the trained entries of one random matrix a step. Default: 0. */
  readonly rankLoss?: number;
  /** The linear layers. Default: all that the base has. */
  readonly sites?: readonly RedSite[];
  /** Layer numbers from 0. Default: "all". */
  readonly layers?: readonly number[] | "all";
}

export interface SaraConfig {
  /** null: there is a share. */
  readonly threshold: number | null;
  readonly share: number | null;
  readonly reselectAt: number;
  readonly rankLoss: number;
  readonly sites: readonly RedSite[];
  readonly layers: readonly number[];
}

function checkedThreshold(threshold: number): number {
  if (typeof threshold !== "number" || !(threshold > 0 && threshold <= limits.maxPositive))
    throw invalid("threshold", `a number above 0, at most ${limits.maxPositive}`, threshold);
  return threshold;
}

/**
 * SaRA (Hu et al., arXiv 2409.06633): the entries of the base's matrices whose magnitude is below a threshold are trained,
 * W' = W + S; of a matrix without one, the smallest. Those that have grown beyond it by half of the run are then frozen. A rank loss
 * may be added (docs/methods.md).
 */
export const sara = defineMethod<SaraOptions, SaraConfig>({
  kind: "sara",
  options: ["threshold", "share", "reselectAt", "rankLoss", "sites", "layers"],
  check({ threshold = null, share = null, reselectAt = 0.5, rankLoss = 0, sites, layers = "all" }, base) {
    if (threshold !== null && share !== null)
      throw invalid("threshold", "no threshold beside a share, which takes its place,", threshold);
    return {
      threshold: share === null ? checkedThreshold(threshold ?? 0.0001) : null,
      share: share === null ? null : checkedShare(share),
      reselectAt: checkedOption("reselectAt", belowOne, reselectAt),
      rankLoss: checkedOption("rankLoss", number(0, limits.maxPositive), rankLoss),
      sites: base.sites(sites ?? base.siteNames),
      layers: base.layers(layers),
    };
  },
  plan({ threshold, share, reselectAt, rankLoss, ...where }, base) {
    return {
      ...sparsePlan(where, base, share),
      ...(reselectAt > 0 && { freeze: { at: reselectAt, magnitude: threshold } }),
      ...(rankLoss > 0 && { nuclear_norm: rankLoss }),
    };
  },
  async choose(weight, { count }, { threshold }) {
    if (count !== undefined) return inSlices(smallestEntries(weight, count));
    const below = await inSlices(entriesBelow(weight, threshold!));
    return below.length > 0 ? below : inSlices(smallestEntries(weight, 1));
  },
});
