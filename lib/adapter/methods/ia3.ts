import { Ia3Adapter, type Ia3AdapterOptions, ia3ConfigOf } from "../ia3_adapter";
import { ia3Plan } from "../ia3_plan";
import { defineMethod } from "../method";

/** (IA)3 (arXiv 2205.05638): y = scale * y, or x = scale * x, at each linear layer. An adapter of it is an `Ia3Adapter`. */
export const ia3 = defineMethod({
  kind: "ia3",
  options: ["targetModules", "feedforwardModules"],
  check: (options: Ia3AdapterOptions, { architecture }) => ia3ConfigOf(options, architecture),
  plan: (config, { architecture }) => ia3Plan(architecture, config),
  create: (model, options) => Ia3Adapter.create(model, options),
});
