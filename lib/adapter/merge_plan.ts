/** What merging an adapter changes in its base, from the adapter's plan alone: no method is named here. */
import { RubricateError } from "../errors";
import type { Architecture, BiasGroup, ModelDescription } from "../model/architecture";
import type { NativeMergedPart, NativeSite } from "../native";
import { nativeSites, type RedSite, redSites, sitePath } from "./config";
import { joinedUpdates, type LowRankParts, mergedBranch, notLinear } from "./merge_branch";
import { type NormAt, normsOf } from "./norm_sites";
import type { AdapterPlan, PlanEntries, SitePlan } from "./plan";

/**
 * The change of one linear layer: W' = diag(scale) (W diag(inputScale) + factor B A + S), b' = scale * b + bias; or the vectors in place
 * of those of a norm.
 */
export interface LinearEdit {
  /** For messages. */
  readonly where: string;
  readonly site: NativeSite;
  readonly inputScale?: Float32Array | undefined;
  readonly lowRank?: NativeMergedPart["lowRank"];
  readonly sparse?: NativeMergedPart["sparse"];
  readonly scale?: Float32Array | undefined;
  readonly bias?: Float32Array | undefined;
  readonly own?: { readonly weight?: Float32Array | undefined; readonly bias?: Float32Array | undefined } | undefined;
}

/** Parts of a site that change its weight and bias only, in the order of native/adapter/plan.h. Any other is refused. */
const linearParts: readonly string[] = [
  "input_scale",
  "low_rank",
  "sparse",
  "branch",
  "scale",
  "bias",
  "own",
] satisfies (keyof SitePlan)[];
const stepNames: Readonly<Record<string, string>> = { norm: "a layer norm" };

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
 * @param values the adapter's parameters, in the plan's order
 * @param entries of its indices, in the plan's order
 * @throws RubricateError ERR_MERGE naming the site and the step, for a step that is not linear
 */
export function linearEdits(
  all: AdapterPlan,
  values: Float32Array,
  architecture: Pick<Architecture, "stacks">,
  entries: PlanEntries = [],
): Map<string, LinearEdit> {
  const { parameters, sites } = all;
  const norms = normsOf(architecture);
  let end = 0;
  const vectors = parameters.map(({ shape }) => {
    const begin = end;
    end += shape.reduce((product, size) => product * size, 1);
    return values.subarray(begin, end);
  });
  const vector = (index: number | undefined) => (index === undefined ? undefined : vectors[index]!);
  const edits = new Map<string, LinearEdit>();
  for (const plan of sites) {
    const { where, name } = namesOf(plan, norms);
    requireLinear(plan, where);
    const { low_rank: low, own } = plan;
    const lowRank = low && {
      a: vectors[low.a]!,
      b: vectors[low.b]!,
      rank: parameters[low.a]!.shape[0]!,
      factor: low.factor,
    };
    const branch = plan.branch && mergedBranch(plan.branch, { plan: all, vectors }, where);
    const scale = vector(plan.scale);
    edits.set(name, {
      where,
      site: plan.site,
      lowRank: branch ? withBranch(lowRank, branch) : lowRank,
      sparse: plan.sparse && { indices: entries[plan.sparse.index]!, values: vectors[plan.sparse.values]! },
      inputScale: vector(plan.input_scale),
      scale,
      bias: withOffset(vector(plan.bias), branch?.offset, scale),
      own: own && { weight: vector(own.weight), bias: vector(own.bias) },
    });
  }
  return edits;
}

function withBranch(lowRank: LinearEdit["lowRank"], branch: LowRankParts): LinearEdit["lowRank"] {
  const { a, b, rank } = lowRank ? joinedUpdates(lowRank, branch) : branch;
  return { a, b, rank, factor: 1 };
}

/** y = scale * (... + offset) + bias. */
function withOffset(
  bias: Float32Array | undefined,
  offset: Float32Array | undefined,
  scale: Float32Array | undefined,
): Float32Array | undefined {
  return offset?.map((value, at) => (scale?.[at] ?? 1) * value + (bias?.[at] ?? 0)) ?? bias;
}

function requireLinear(plan: SitePlan, where: string): void {
  const parts = Object.keys(plan).filter((name) => name !== "layer" && name !== "site");
  const other = parts.find((name) => plan[name as keyof SitePlan] !== undefined && !linearParts.includes(name));
  if (other === undefined) return;
  const steps = plan.input ?? plan.output;
  if (other === "norm" || !steps) throw notLinear(where, stepNames[other] ?? `the step ${other}`);
  const activation = steps.find(({ op }) => op === "activation");
  if (activation?.op === "activation") throw notLinear(where, `an activation (${activation.kind})`);
  throw new RubricateError(
    "ERR_MERGE",
    `Expected steps that can be merged but ${where} has steps of its ${other}, which are not merged; keep base and adapter apart`,
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
export function biasFieldsFor(edits: ReadonlyMap<string, LinearEdit>, base: ModelDescription): Set<string> {
  const present = new Set(base.tensors);
  const fields = new Set<string>();
  for (const [name, { where, site, bias }] of edits) {
    if (!bias || present.has(`${name}.bias`)) continue;
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
