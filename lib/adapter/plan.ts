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

/** An activation of a step; "gelu" is the exact one, "gelu_tanh" its approximation by tanh. */
export type PlanActivation = "gelu" | "gelu_tanh" | "silu" | "relu" | "tanh";

/** The index of a parameter, or of a derived value. */
export type PlanValue = number | { readonly derived: number };

/**
 * A step of a list, by parameters, derived values or constants; `v` is the running value. "linear": v = v W^T, W [out, in];
 * "block_linear": the same for each of n slices of v, W [n, out, in]; "scale": v = by * v; "affine": v = scale * v + bias, of
 * which one may be missing; "residual": v = v + x, what the list was given; "activation": v = f(v); "mix_initial": v = (1 - by) * v +
 * by * h, h the embedding's output of the same token, by between 0 and 1. All compute in float32.
 */
export type PlanStep =
  | { readonly op: "linear" | "block_linear"; readonly weight: PlanValue }
  | { readonly op: "linear" | "block_linear"; readonly constant: number }
  | { readonly op: "scale" | "mix_initial"; readonly by: number }
  | { readonly op: "affine"; readonly scale?: PlanValue; readonly bias?: PlanValue }
  | { readonly op: "residual" }
  | { readonly op: "activation"; readonly kind: PlanActivation };

/** A frozen matrix that a method gives with its plan, or a vector of the base. It is neither stored nor counted. */
export interface PlanConstant {
  readonly name: string;
  readonly shape: readonly number[];
  /** By rows; missing until it is read, if it is the base's. */
  readonly values?: Float32Array;
  /** It is the base's vector of that name. */
  readonly ofBase?: true;
}

/** What a derived value is made of: a parameter, a constant, or a derived value before it. */
export type PlanOperand = PlanValue | { readonly constant: number };

/**
 * A value that is made of parameters once a step, and takes a parameter's place; its gradient, of all sites and micro-batches, is
 * taken back to them once. "einsum": a product of tensors as torch.einsum writes it, a letter for each axis, summed over letters
 * that `axes` lacks, by rows in `shape`; with `row` an operand is that row of its first axis. "unit": v / |v| along the last axis, times a
 * factor for each row of the axis before; vectors of zeros stay. "weight_product": with the weight W [outputs, inputs] of a linear layer of
 * the base, v W^T of v [rows, inputs], or along "outputs" v W of v [rows, outputs]. "activation": of each element. `transposed` swaps
 * the last two axes at the end; `shape` is the shape after that.
 */
export type PlanDerived = { readonly name: string; readonly shape: readonly number[] } & (
  | {
      readonly kind: "einsum";
      readonly operands: readonly { readonly of: PlanOperand; readonly axes: string; readonly row?: number }[];
      readonly axes: string;
      readonly transposed?: boolean;
    }
  | {
      readonly kind: "unit";
      readonly of: PlanOperand;
      readonly factors?: readonly number[];
      readonly transposed?: boolean;
    }
  | {
      readonly kind: "weight_product";
      readonly of: PlanOperand;
      readonly layer: number;
      readonly site: PlanSite;
      readonly along: "inputs" | "outputs";
      readonly transposed?: boolean;
    }
  | { readonly kind: "activation"; readonly of: PlanOperand; readonly activation: PlanActivation }
);

/**
 * The entries of a matrix of the base that a sparse update has. The method chooses them from the weights when an adapter is created;
 * its folder stores them under this name.
 */
export interface PlanIndex {
  readonly name: string;
  /** The canonical name of the base's tensor, a matrix [outputs, inputs]. */
  readonly of: string;
  readonly shape: readonly [outputs: number, inputs: number];
  /** How many there are; undefined: as many as the method chooses. */
  readonly count?: number;
}

/** The entries of a plan's indices, in their order: n * inputs + k of each, ascending. */
export type PlanEntries = readonly Int32Array[];

/**
 * What a site does: x = input(input_scale * x), before the linear layer; y += factor * B (A x); y += S x; y += branch(x);
 * y = output(y); y = scale * y + bias; a layer norm.
 */
export interface SitePlan {
  readonly layer: number;
  readonly site: PlanSite;
  /** Steps of the input, which give rows as wide as it. */
  readonly input?: readonly PlanStep[];
  /** Steps of the input whose result, as wide as the output, is added to the output. */
  readonly branch?: readonly PlanStep[];
  /** Steps of the output, which give rows as wide as it. */
  readonly output?: readonly PlanStep[];
  /** y += factor * B (A x). */
  readonly low_rank?: { readonly a: PlanValue; readonly b: PlanValue; readonly factor: number };
  /** y += S x: the values of the entries of S, and the place of their index among `indices`. */
  readonly sparse?: { readonly values: PlanValue; readonly index: number };
  /** x = input_scale * x, before the linear layer. */
  readonly input_scale?: PlanValue;
  /** y = scale * y + bias. */
  readonly scale?: PlanValue;
  readonly bias?: PlanValue;
  /** A layer norm. */
  readonly norm?: { readonly weight: PlanValue; readonly bias: PlanValue };
  /** At a norm of the model, alone: the vectors that take the place of its own. At least one. */
  readonly own?: { readonly weight?: PlanValue; readonly bias?: PlanValue };
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
  /** It has a number for each entry of this index, by its place among `indices`; its shape is [0] as long as that is not known. */
  readonly entriesOf?: number;
}

/**
 * Once a run has made the share `at` of its steps, rounded down, at least one, entries of sparse updates that have grown are trained no
 * more: those with |base + value| not below `magnitude`, or, if that is null, above the largest of the matrix's chosen entries in the base.
 */
export interface PlanFreeze {
  readonly at: number;
  readonly magnitude: number | null;
}

export interface AdapterPlan {
  readonly parameters: readonly PlanParameter[];
  readonly sites: readonly SitePlan[];
  readonly constants?: readonly PlanConstant[];
  /** In the order in which they are made. */
  readonly derived?: readonly PlanDerived[];
  readonly indices?: readonly PlanIndex[];
  readonly freeze?: PlanFreeze;
  /** A run adds this times the nuclear norm of the trained entries, base + value, of one sparse update's matrix to the loss of each step. */
  readonly nuclear_norm?: number;
}

/** Gathers the parameters of a plan. */
export class PlanBuilder {
  private readonly parameters: PlanParameter[] = [];
  private readonly sites: SitePlan[] = [];
  private readonly constants: PlanConstant[] = [];
  private readonly derived: PlanDerived[] = [];
  private readonly indices: PlanIndex[] = [];

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

  /** The index of a new constant; its values are copied. */
  constant(name: string, shape: readonly number[], values: Float32Array): number {
    return this.constants.push({ name, shape, values: new Float32Array(values) }) - 1;
  }

  /** The index of a new constant that is the base's vector of that name. */
  constantOfBase(name: string, width: number): number {
    return this.constants.push({ name, shape: [width], ofBase: true }) - 1;
  }

  /** A new derived value, of what was added before. */
  derive(derived: PlanDerived): { readonly derived: number } {
    return { derived: this.derived.push(derived) - 1 };
  }

  /**
   * The sparse update of a linear layer, `NAME.delta` and `NAME.index`, whose values begin as 0.
   * @param count how many entries there are; undefined: as many as the method chooses
   */
  sparse(
    { name, outputs, inputs }: { readonly name: string; readonly outputs: number; readonly inputs: number },
    count?: number,
  ): { values: number; index: number } {
    const own = { name: `${name}.index`, of: `${name}.weight`, shape: [outputs, inputs] as const };
    const index = this.indices.push(count === undefined ? own : { ...own, count }) - 1;
    const values = this.parameters.push({ name: `${name}.delta`, shape: [count ?? 0], start: 0, entriesOf: index }) - 1;
    return { values, index };
  }

  site(plan: SitePlan): void {
    this.sites.push(plan);
  }

  get plan(): AdapterPlan {
    const { parameters, sites, constants, derived, indices } = this;
    return {
      ...{ parameters, sites },
      ...(constants.length > 0 && { constants }),
      ...(derived.length > 0 && { derived }),
      ...(indices.length > 0 && { indices }),
    };
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
