/** BitFit (Ben Zaken et al., arXiv 2106.10199): the biases that the base has are trained. */
import { RubricateError } from "../../errors";
import { defineMethod } from "../method";
import { normsHaveBias, normsOf } from "../norm_sites";
import { PlanBuilder } from "../plan";

/**
 * A change of the bias of each linear layer that has one, which begins as 0, and the adapter's own bias of each norm that has
 * one, which begins as the base's. Weight decay does not apply to them.
 */
export const bitfit = defineMethod<object, object>({
  kind: "bitfit",
  options: [],
  check(_options, { architecture, tensors }) {
    if (tensors.some((name) => name.endsWith(".bias"))) return {};
    throw new RubricateError(
      "ERR_ARGUMENT",
      `Expected a base that has biases for the method bitfit but received a model of model_type ${architecture.family} without any; ` +
        'RED\'s variant "bias" adds some',
    );
  },
  plan(_config, base) {
    const builder = new PlanBuilder();
    const { architecture, tensors } = base;
    const present = new Set(tensors);
    for (let layer = 0; layer < base.layerCount; layer++)
      for (const site of base.siteNames) {
        const { name, outputs, at } = base.linear(layer, site);
        if (!present.has(`${name}.bias`)) continue;
        builder.site({ ...at, bias: builder.undecayed(`${name}.bias_change`, [outputs], 0) });
      }
    for (const { name, at } of normsHaveBias(architecture) ? normsOf(architecture) : [])
      builder.site({ ...at, own: { bias: builder.ofBase(`${name}.bias`, architecture.hidden) } });
    return builder.plan;
  },
});
