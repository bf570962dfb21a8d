/** Plans of methods that train some entries of matrices: W' = W + S. */
import { invalid } from "../errors";
import type { RedSite } from "./config";
import type { MethodBase } from "./method_base";
import { type AdapterPlan, PlanBuilder } from "./plan";

/** @throws RubricateError ERR_ARGUMENT */
export function checkedShare(share: number): number {
  if (typeof share !== "number" || !(share > 0 && share <= 1))
    throw invalid("share", "a number above 0, at most 1,", share);
  return share;
}

/** A sparse update at each site. share: of the entries of each matrix, at least one; null: as many as the method chooses. */
export function sparsePlan(
  { sites, layers }: { readonly sites: readonly RedSite[]; readonly layers: readonly number[] },
  base: MethodBase,
  share: number | null,
): AdapterPlan {
  const builder = new PlanBuilder();
  for (const layer of layers)
    for (const site of sites) {
      const linear = base.linear(layer, site);
      const count = share === null ? undefined : Math.max(1, Math.round(share * linear.inputs * linear.outputs));
      builder.site({ ...linear.at, sparse: builder.sparse(linear, count) });
    }
  return builder.plan;
}
