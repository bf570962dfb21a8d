/** LN tuning (Zhao et al., arXiv 2312.11420): the norms of the model are trained, as PEFT's LNTuningConfig does. */
import { invalid } from "../../errors";
import { listOf } from "../../options";
import { defineMethod } from "../method";
import { addNorms } from "../norm_plan";
import { isNormList, type NormSite, normSites } from "../norm_sites";
import { peftNorms } from "../peft_norms";
import { PlanBuilder } from "../plan";

export interface NormsOptions {
  /** The norms to train: those before attention, before the feed-forward, and the final one. Default: all three. */
  readonly targetNorms?: readonly NormSite[];
}

export interface NormsConfig {
  readonly targetNorms: readonly NormSite[];
}

/** The adapter's own weight and bias of each norm; they begin as the base's. Weight decay does not apply to them. */
export const norms = defineMethod<NormsOptions, NormsConfig>({
  kind: "norms",
  options: ["targetNorms"],
  check({ targetNorms = normSites }) {
    const what = `some of ${normSites.join(", ")}, each once`;
    const given = listOf("targetNorms", what, targetNorms);
    if (!isNormList(given)) throw invalid("targetNorms", what, targetNorms);
    return { targetNorms: normSites.filter((site) => given.includes(site)) };
  },
  plan({ targetNorms }, { architecture }) {
    const builder = new PlanBuilder();
    addNorms(builder, architecture, targetNorms);
    return builder.plan;
  },
  peft: peftNorms,
});
