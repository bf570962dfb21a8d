/** RED adapters of the core, without lib's class: edits after the feed-forward of some layers. */
import { redPlan } from "../../lib/adapter/red_plan";
import { native } from "../../lib/native";

/** The plan as the core takes it. `architecture`: its JSON. */
export const planOf = (architecture: string, layers: readonly number[] = [0, 1]) =>
  JSON.stringify(redPlan(JSON.parse(architecture), { variant: "all", sites: ["ffn"], layers }));

export const redAdapter = (architecture: string, layers?: readonly number[]) =>
  new (native().Adapter)(architecture, planOf(architecture, layers));
