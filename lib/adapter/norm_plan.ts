/** Norms of the model as parameters of an adapter. */
import type { Architecture } from "../model/architecture";
import { type NormSite, normSites, normsHaveBias, normsOf } from "./norm_sites";
import type { PlanBuilder } from "./plan";

/** Adds the adapter's own weight, and bias where the model has one, of the norms at these sites; they begin as the base's. */
export function addNorms(
  builder: PlanBuilder,
  architecture: Architecture,
  sites: readonly NormSite[] = normSites,
): void {
  for (const { site, name, at } of normsOf(architecture)) {
    if (!sites.includes(site)) continue;
    const weight = builder.ofBase(`${name}.weight`, architecture.hidden);
    const bias = normsHaveBias(architecture) ? builder.ofBase(`${name}.bias`, architecture.hidden) : undefined;
    builder.site({ ...at, own: { weight, ...(bias === undefined ? {} : { bias }) } });
  }
}
