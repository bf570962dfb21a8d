/** Plans of adapters: what a method tells the core (native/adapter/plan.h). */
import type { Architecture } from "../model/architecture";
import { linearModules, nativeSites, type RedSite, redSites, sitePath } from "./config";

/** A linear layer of a block, as the core names it. */
export type PlanSite = "q_proj" | "k_proj" | "v_proj" | "o_proj" | "gate_proj" | "up_proj" | "down_proj";

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
}

export interface AdapterPlan {
  /** fp32; `start`: each element's first value, and what weight decay pulls it to. */
  readonly parameters: readonly { readonly name: string; readonly shape: readonly number[]; readonly start: number }[];
  readonly sites: readonly SitePlan[];
}

/** Gathers the parameters of a plan. */
export class PlanBuilder {
  private readonly parameters: AdapterPlan["parameters"][number][] = [];
  private readonly sites: SitePlan[] = [];

  /** The index of a new parameter. */
  parameter(name: string, shape: readonly number[], start: number): number {
    return this.parameters.push({ name, shape, start }) - 1;
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
