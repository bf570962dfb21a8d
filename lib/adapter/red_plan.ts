/** RED's plan (arXiv 2402.15179v3): at each site y = scale * h + bias, one of the two, or both and a layer norm. */
import type { Architecture } from "../model/architecture";
import { nativeSites, type RedAdapterConfig } from "./config";
import { type AdapterPlan, inOrder, linearAt, PlanBuilder } from "./plan";

export function redPlan(
  architecture: Architecture,
  { variant, sites, layers }: Pick<RedAdapterConfig, "variant" | "sites" | "layers">,
): AdapterPlan {
  const builder = new PlanBuilder();
  for (const layer of layers)
    for (const site of inOrder(sites)) {
      const { name, outputs } = linearAt(architecture, layer, site);
      const vector = (part: string, start: number) => builder.parameter(`${name}.${part}`, [outputs], start);
      builder.site({
        layer,
        site: nativeSites[site],
        ...(variant !== "bias" && { scale: vector("scale", 1) }),
        ...(variant !== "scale" && { bias: vector("bias", 0) }),
        ...(variant === "ln" && { norm: { weight: vector("ln.weight", 1), bias: vector("ln.bias", 0) } }),
      });
    }
  return builder.plan;
}
