/** What merging an adapter changes in its base, from the adapter's plan alone: no method is named here. */
import { RubricateError } from "../errors";
import type { Architecture, BiasGroup, ModelDescription } from "../model/architecture";
import type { NativeSite } from "../native";
import { nativeSites, type RedSite, redSites, sitePath } from "./config";
import { type NormAt, normsOf } from "./norm_sites";
import type { AdapterPlan, PlanStep, SitePlan } from "./plan";

/** A linear layer or a norm whose weight or bias an adapter changes; the core computes the values (native/adapter/merge.h). */
export interface SiteEdit {
  /** For messages. */
  readonly where: string;
  readonly layer: number;
  readonly site: NativeSite;
  /** Whether the linear layer has a bias afterwards even if it had none before. */
  readonly addsBias: boolean;
}

/** What a plan's site is called: for people, and canonically, without ".weight". */
function namesOf({ layer, site }: SitePlan, norms: readonly NormAt[]): { where: string; name: string } {
  const norm = norms.find(({ at }) => at.layer === layer && at.site === site);
  if (norm)
    return { where: norm.site === "final_norm" ? "the final norm" : `layer ${layer}, ${norm.site}`, name: norm.name };
  const red = redSites.find((name) => nativeSites[name] === site) as RedSite;
  return { where: `layer ${layer}, site ${red}`, name: `layers.${layer}.${sitePath(red)}` };
}

/**
 * The edits of an adapter by the canonical name of the linear layer or the norm, without ".weight".
 * @throws RubricateError ERR_MERGE naming the site and the step, for a step that is not linear
 */
export function siteEdits({ sites }: AdapterPlan, architecture: Pick<Architecture, "stacks">): Map<string, SiteEdit> {
  const norms = normsOf(architecture);
  const edits = new Map<string, SiteEdit>();
  for (const plan of sites) {
    const { where, name } = namesOf(plan, norms);
    const steps = [...(plan.input ?? []), ...(plan.branch ?? []), ...(plan.output ?? [])];
    if (plan.norm) throw notLinear(where, "a layer norm");
    requireLinear(steps, where);
    const addsBias = plan.bias !== undefined || steps.some((step) => step.op === "affine" && step.bias !== undefined);
    edits.set(name, { where, layer: plan.layer, site: plan.site, addsBias });
  }
  return edits;
}

/** What a step that no weight and bias can express is called. */
const otherSteps: Readonly<Partial<Record<PlanStep["op"], string>>> = {
  activation: "an activation",
  mix_initial: "a part of the embedding's output (mix_initial)",
};

function requireLinear(steps: readonly PlanStep[], where: string): void {
  const step = steps.find(({ op }) => otherSteps[op] !== undefined);
  if (step) throw notLinear(where, `${otherSteps[step.op]}${step.op === "activation" ? ` (${step.kind})` : ""}`);
}

/** What merging says about a step that it cannot express. */
function notLinear(where: string, step: string): RubricateError {
  return new RubricateError(
    "ERR_MERGE",
    `Expected only linear steps to merge but ${where} has ${step}, which no weight and bias can express; keep base and ` +
      "adapter apart",
  );
}

const groups: Readonly<Partial<Record<NativeSite, BiasGroup>>> = {
  q_proj: "qkv",
  k_proj: "qkv",
  v_proj: "qkv",
  o_proj: "output",
  gate_proj: "feedForward",
  up_proj: "feedForward",
  down_proj: "feedForward",
};

/**
 * The fields of config.json that must be true so that the model has a place for each bias that the edits add.
 * @throws RubricateError ERR_MERGE naming the site, if its family has no place for one
 */
export function biasFieldsFor(edits: ReadonlyMap<string, SiteEdit>, base: ModelDescription): Set<string> {
  const present = new Set(base.tensors);
  const fields = new Set<string>();
  for (const [name, { where, site, addsBias }] of edits) {
    if (!addsBias || present.has(`${name}.bias`)) continue;
    const group = groups[site];
    const field = group && base.biasFields[group];
    if (field === undefined)
      throw new RubricateError(
        "ERR_MERGE",
        `Expected a place for the bias of ${where} but a model of model_type ${base.architecture.family} has none at ` +
          `${site}; keep base and adapter apart, or train without biases (RED's variant "scale", or LoRA)`,
      );
    fields.add(field);
  }
  return fields;
}
