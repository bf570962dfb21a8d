/**
 * The linear layers of a block as checkpoints of the family store them, and as PEFT therefore names and updates them. GPT-2 has other
 * names and stores q, k and v as one matrix (`c_attn`); Phi-3 does so (`qkv_proj`), and with gate and up (`gate_up_proj`). An
 * update of a stored layer consists of updates of its parts, each with its own rows.
 */
import { hasGate, type ModelDescription } from "../model/architecture";
import type { NativeLinearSite } from "../native";
import { linearModules, nativeSites, redSites, sitePath } from "./config";
import { linearAt } from "./plan";

/** A linear layer of the model within the one that is stored. */
export interface StoredPartOf {
  readonly module: NativeLinearSite;
  readonly inputs: number;
  /** Its rows in the stored layer's outputs. */
  readonly begin: number;
  readonly outputs: number;
}

/** A stored linear layer of each block. */
export interface StoredLayer {
  /** Its place in a block, such as "attn.c_attn". */
  readonly place: string;
  /** By rows. */
  readonly parts: readonly StoredPartOf[];
}

/** What a list of names in a folder of PEFT names. */
export interface NamedLayers {
  readonly stored: readonly StoredLayer[];
  /** Ascending; undefined: all of the model. */
  readonly layers: readonly number[] | undefined;
}

const siteOf = (module: NativeLinearSite) => redSites.find((site) => nativeSites[site] === module)!;

export class StoredLayers {
  /** In the order of a block. */
  readonly all: readonly StoredLayer[];
  /** Whether matrices are stored as [inputs, outputs]; PEFT then has fan_in_fan_out. */
  readonly transposed: boolean;
  /** Whether the stored layers are the model's own, with its names. */
  readonly areOwn: boolean;
  private readonly names = new Map<string, string>();
  private readonly count: number;
  private readonly prefix: string;

  constructor({ architecture, storage }: ModelDescription) {
    this.count = architecture.stacks[0].layers;
    this.prefix = storage.prefix;
    const parts = new Map<string, StoredPartOf[]>();
    let transposed = false;
    let areOwn = true;
    for (const module of linearModules) {
      if (module === "gate_proj" && !hasGate(architecture)) continue;
      const site = siteOf(module);
      const own = `layers.{}.${sitePath(site)}`;
      const part = storage.parts[`${own}.weight`];
      const name = part?.name.replace(/\.weight$/, "") ?? own;
      const place = name.slice(name.indexOf("{}.") + 3);
      const { inputs, outputs } = linearAt(architecture, 0, site);
      transposed ||= part?.transposed === true;
      areOwn &&= name === own;
      this.names.set(place, name);
      parts.set(place, [...(parts.get(place) ?? []), { module, inputs, outputs, begin: part?.begin ?? 0 }]);
    }
    this.all = [...parts].map(([place, own]) => ({ place, parts: own.sort((a, b) => a.begin - b.begin) }));
    this.transposed = transposed;
    this.areOwn = areOwn;
  }

  /** The full name of a stored layer, such as "transformer.h.0.attn.c_attn". */
  fullName(layer: number, { place }: StoredLayer): string {
    return this.prefix + this.names.get(place)!.replace("{}", String(layer));
  }

  /**
   * What a list names, as PEFT compares: a name is a layer's full name, or the end of it.
   * @returns undefined if a name is no layer's, or other layers of a block are named in one block than in another
   */
  named(value: unknown): NamedLayers | undefined {
    if (value === "all-linear") return { stored: this.all, layers: undefined };
    if (!Array.isArray(value) || value.length === 0 || value.length > this.all.length * this.count) return undefined;
    const byEnd = this.byEnd();
    const found = new Map<number, Set<StoredLayer>>();
    for (const name of value) {
      const named = typeof name === "string" ? byEnd.get(name) : undefined;
      if (named === undefined) return undefined;
      for (const { layer, stored } of named) found.set(layer, (found.get(layer) ?? new Set()).add(stored));
    }
    const [first, ...others] = [...found.values()].map((own) => this.all.filter((stored) => own.has(stored)));
    if (others.some((own) => own.length !== first!.length || own.some((stored, at) => stored !== first![at])))
      return undefined;
    const layers = [...found.keys()].sort((a, b) => a - b);
    return { stored: first!, layers: layers.length === this.count ? undefined : layers };
  }

  /** The layers by each end of their names. */
  private byEnd(): ReadonlyMap<string, readonly { layer: number; stored: StoredLayer }[]> {
    const ends = new Map<string, { layer: number; stored: StoredLayer }[]>();
    for (let layer = 0; layer < this.count; layer++)
      for (const stored of this.all) {
        const names = this.fullName(layer, stored).split(".");
        for (const at of names.keys()) {
          const end = names.slice(at).join(".");
          const own = ends.get(end);
          if (own) own.push({ layer, stored });
          else ends.set(end, [{ layer, stored }]);
        }
      }
    return ends;
  }
}

/** The model's own layers that stored ones consist of, in the order of a block. */
export function modulesIn(stored: readonly StoredLayer[]): NativeLinearSite[] {
  const own = new Set(stored.flatMap(({ parts }) => parts.map(({ module }) => module)));
  return linearModules.filter((module) => own.has(module));
}

/** The outputs of a stored layer. */
export const outputsOf = ({ parts }: StoredLayer) => parts.reduce((sum, { outputs }) => sum + outputs, 0);
