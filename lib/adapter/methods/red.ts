import { defineMethod } from "../method";
import { RedAdapter, type RedAdapterOptions, redConfigOf } from "../red_adapter";
import { redPlan } from "../red_plan";

/** RED (arXiv 2402.15179v3): y = scale * y + bias at each site. An adapter of it is a `RedAdapter`. */
export const red = defineMethod({
  kind: "red",
  options: ["variant", "sites", "layers"],
  check: (options: RedAdapterOptions, { architecture }) => redConfigOf(options, architecture),
  plan: (config, { architecture }) => redPlan(architecture, config),
  create: (model, options) => RedAdapter.create(model, options),
});
