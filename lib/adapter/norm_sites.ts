/** The norms of a model, where an adapter may have its own weight and bias. */
import type { Architecture } from "../model/architecture";
import type { NativeNormSite } from "../native";

/** The norm before attention, that before the feed-forward, and the one after the last layer. */
export type NormSite = "attention_norm" | "ffn_norm" | "final_norm";

export const normSites: readonly NormSite[] = ["attention_norm", "ffn_norm", "final_norm"];

/** A norm of a base. */
export interface NormAt {
  readonly site: NormSite;
  /** Its canonical name, without ".weight": "layers.0.input_layernorm", "norm". */
  readonly name: string;
  /** Its place in a plan: the final norm counts as the first of one layer more. */
  readonly at: { readonly layer: number; readonly site: NativeNormSite };
}

/** In the order of the model. */
export function normsOf({ stacks: [{ layers }] }: Pick<Architecture, "stacks">): NormAt[] {
  const norms: NormAt[] = [];
  for (let layer = 0; layer < layers; layer++) {
    const at = (site: NormSite, own: NativeNormSite) =>
      norms.push({ site, name: `layers.${layer}.${own}`, at: { layer, site: own } });
    at("attention_norm", "input_layernorm");
    at("ffn_norm", "post_attention_layernorm");
  }
  norms.push({ site: "final_norm", name: "norm", at: { layer: layers, site: "input_layernorm" } });
  return norms;
}

/** Whether the norms have a bias beside the weight. */
export const normsHaveBias = ({ stacks: [{ norm }] }: Pick<Architecture, "stacks">): boolean => norm.kind === "layer";

/** Whether a value is a list of at least one norm, each once. */
export function isNormList(value: unknown): value is readonly NormSite[] {
  return (
    Array.isArray(value) &&
    value.length > 0 &&
    value.every((site, at) => normSites.includes(site) && value.indexOf(site) === at)
  );
}
