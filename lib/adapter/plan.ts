/** Plans of adapters: what a method tells the core (native/adapter/plan.h). */
import type { Architecture } from "../model/architecture";
import { linearModules, nativeSites, type RedSite, redSites, sitePath } from "./config";

/**
 * A linear layer of a block, or a norm, as the core names it. The final norm counts as the `input_layernorm` of one layer more than
 * the model has.
 */
export type PlanSite =
  | "q_proj"
  | "k_proj"
  | "v_proj"
  | "o_proj"
  | "gate_proj"
  | "up_proj"
  | "down_proj"
  | "input_layernorm"
  | "post_attention_layernorm";

/** What a site does, by indices of parameters, in this order. */
export interface SitePlan {
  readonly layer: number;
  readonly site: PlanSite;
  /** y += factor * B (A x). */
  readonly low_rank?: { readonly a: number; readonly b: number; readonly factor: number };
  /** x = input_scale * x, before the linear layer. */
  readonly input_scale?: number;
  /** y = scale * y + bias. */
  readonly scale?: number;
  readonly bias?: number;
  /** A layer norm. */
  readonly norm?: { readonly weight: number; readonly bias: number };
  /** At a norm of the model, alone: the vectors that take the place of its own. At least one. */
  readonly own?: { readonly weight?: number; readonly bias?: number };
}

/** A trained parameter, fp32. */
export interface PlanParameter {
  readonly name: string;
  readonly shape: readonly number[];
  /** Each element's first value, and what weight decay pulls it to. */
  readonly start: number;
  /** Weight decay leaves it alone. */
  readonly decays?: false;
  /** Its first values are those of the base's tensor of that name, a vector, not `start`. */
  readonly ofBase?: true;
}

export interface AdapterPlan {
  readonly parameters: readonly PlanParameter[];
  readonly sites: readonly SitePlan[];
}

/** Gathers the parameters of a plan. */
export class PlanBuilder {
  private readonly parameters: PlanParameter[] = [];
  private readonly sites: SitePlan[] = [];

  /** The index of a new parameter. */
  parameter(name: string, shape: readonly number[], start: number): number {
    return this.parameters.push({ name, shape, start }) - 1;
  }

  /** The same for one that weight decay leaves alone. */
  undecayed(name: string, shape: readonly number[], start: number): number {
    return this.parameters.push({ name, shape, start, decays: false }) - 1;
  }

  /** The same for one that begins as the base's vector of that name. */
  ofBase(name: string, width: number): number {
    return this.parameters.push({ name, shape: [width], start: 0, decays: false, ofBase: true }) - 1;
  }

  site(plan: SitePlan): void {
    this.sites.push(plan);
  }

  get plan(): AdapterPlan {
    return { parameters: this.parameters, sites: this.sites };
  }
}

/** The linear layers that a plan changes, in the order of a block. */
export function sitesOfPlan({ sites }: AdapterPlan): RedSite[] {
  const own = new Set<string>(sites.map(({ site }) => site));
  return inOrder(redSites.filter((site) => own.has(nativeSites[site])));
}

/** Sites in the order of their parameters in a layer. */
export function inOrder(sites: readonly RedSite[]): RedSite[] {
  return [...sites].sort((a, b) => linearModules.indexOf(nativeSites[a]) - linearModules.indexOf(nativeSites[b]));
}

/** The site's linear layer: its canonical name without ".weight", and its sizes. */
export function linearAt(
  { hidden, stacks }: Architecture,
  layer: number,
  site: RedSite,
): { name: string; outputs: number; inputs: number } {
  const [{ attention, feed_forward }] = stacks;
  const queries = attention.heads * attention.head_dim;
  const keys = attention.kv_heads * attention.head_dim;
  const sizes: Record<RedSite, readonly [outputs: number, inputs: number]> = {
    q: [queries, hidden],
    k: [keys, hidden],
    v: [keys, hidden],
    attention: [hidden, queries],
    gate: [feed_forward.size, hidden],
    up: [feed_forward.size, hidden],
    ffn: [hidden, feed_forward.size],
  };
  const [outputs, inputs] = sizes[site];
  return { name: `layers.${layer}.${sitePath(site)}`, outputs, inputs };
}
