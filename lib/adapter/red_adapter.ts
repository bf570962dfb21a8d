import { basename, resolve } from "node:path";
import { adapterBrand, requireModel } from "../brands";
import { markCopy } from "../copies";
import { invalid, RubricateError } from "../errors";
import { readTogether, writeInto } from "../files/atomic";
import { requireNoModel } from "../files/model_folder";
import { mostBytes } from "../files/safetensors";
import { isClaimed } from "../in_use";
import { hasGate } from "../model/architecture";
import type { LlamaModel } from "../model/model";
import type { ModelAdapter } from "../model_arguments";
import { type NativeAdapter, type NativeModel, native } from "../native";
import { type Notice, reportNotices } from "../notices";
import {
  booleanOf,
  checkOptions,
  functionOf,
  lengthOf,
  listOf,
  type OptionNames,
  pathOf,
  readArgument,
} from "../options";
import { baseMismatch, tokenizerHashes, tokenizerNotices } from "./base_match";
import {
  type AdapterFileConfig,
  isSiteList,
  nativeSites,
  type RedAdapterConfig,
  type RedSite,
  type RedVariant,
  redSites,
  redVariants,
} from "./config";
import { adapterFiles, configFile, readAdapterConfig, readAdapterVectors, tensorFile } from "./files";

export interface RedAdapterOptions {
  /** Default: "all", scale and bias. */
  readonly variant?: RedVariant;
  /** Default: ["ffn"]. */
  readonly sites?: readonly RedSite[];
  /** Layer numbers from 0. Default: "all". */
  readonly layers?: readonly number[] | "all";
}

const optionNames: OptionNames<RedAdapterOptions> = { variant: true, sites: true, layers: true };

export interface LoadAdapterOptions {
  /** Accept an adapter that was trained on another base if its vectors fit. Default: false. */
  readonly allowBaseMismatch?: boolean;
  /**
   * Called with each difference from the model that it was trained with; see `RedAdapter.notices`. Default:
   * `process.emitWarning`.
   */
  readonly onNotice?: (notice: Notice) => void;
}

const loadOptionNames: OptionNames<LoadAdapterOptions> = { allowBaseMismatch: true, onNotice: true };

/** Distance of a vector from the identity (scale 1, bias 0). */
export interface VectorStats {
  readonly mean: number;
  readonly max: number;
}

/** Statistics of a site's vectors. */
export interface SiteStats {
  /** Canonical name, such as "layers.3.mlp.down_proj". */
  readonly site: string;
  /** Of |scale - 1|; missing if the variant has no scale. */
  readonly scale?: VectorStats;
  /** Of |bias|. */
  readonly bias?: VectorStats;
}

/**
 * A RED adapter (arXiv 2402.15179v3): at each of its sites y = scale * h + bias. The vectors and their gradients are fp32,
 * independent of the base's dtype. A new adapter is the identity (except with variant "ln", which normalises from the
 * start).
 */
export class RedAdapter implements ModelAdapter {
  static {
    markCopy(RedAdapter);
  }

  /** @internal */
  readonly [adapterBrand] = true;
  private disposed = false;

  private constructor(
    private readonly model: LlamaModel,
    readonly config: RedAdapterConfig,
    private readonly handle: NativeAdapter,
    /** Differences between the model that it was loaded for and the one that it was trained with; empty for a new adapter. */
    readonly notices: readonly Notice[] = [],
  ) {}

  /**
   * A new adapter for a model: scales 1, biases 0.
   * @throws RubricateError ERR_ARGUMENT, ERR_DISPOSED
   */
  static create(model: LlamaModel, options: RedAdapterOptions = {}): RedAdapter {
    requireModel(model);
    const {
      variant = "all",
      sites: given = ["ffn"],
      layers = "all",
    } = checkOptions(options, optionNames, "RedAdapter.create");
    requireInUse(model);
    const siteList = `some of ${redSites.join(", ")}, each once`;
    const sites = listOf("sites", siteList, given);
    if (!redVariants.includes(variant)) throw invalid("variant", `one of ${redVariants.join(", ")}`, variant);
    if (!isSiteList(sites)) throw invalid("sites", siteList, given);
    if (sites.includes("gate") && !hasGate(model.architecture))
      throw invalid("sites", "sites other than gate, which a feed-forward without a gate lacks,", given);
    const count = model.architecture.stacks[0].layers;
    const config = {
      variant,
      sites,
      layers: checkedLayers(layers, count),
      hidden: model.architecture.hidden,
    };
    return RedAdapter.build(model, config);
  }

  private static build(model: LlamaModel, config: RedAdapterConfig, notices?: readonly Notice[]): RedAdapter {
    const handle = new (native().Adapter)(
      JSON.stringify(model.architecture),
      config.variant,
      config.sites.map((site) => nativeSites[site]),
      Int32Array.from(config.layers),
    );
    return new RedAdapter(model, Object.freeze(config), handle, notices);
  }

  /**
   * Loads an adapter that `savePretrained` wrote. Strict: every vector must be present, of the right width and finite.
   * @throws RubricateError ERR_ARGUMENT, ERR_FILE, ERR_ADAPTER_FORMAT, ERR_BASE_MISMATCH, ERR_DISPOSED
   */
  static async fromPretrained(dir: string, model: LlamaModel, options: LoadAdapterOptions = {}): Promise<RedAdapter> {
    const folder = resolve(pathOf("dir", dir)); // before the working directory can change
    requireModel(model);
    const { allowBaseMismatch, onNotice } = checkOptions(options, loadOptionNames, "RedAdapter.fromPretrained");
    const takesAny = booleanOf("allowBaseMismatch", allowBaseMismatch, false);
    const listener = functionOf("onNotice", onNotice);
    requireInUse(model);
    const adapter = await readTogether(
      folder,
      [configFile, tensorFile],
      () => RedAdapter.load(folder, dir, model, takesAny),
      (replaced) => replaced.dispose(),
    );
    try {
      reportNotices(adapter.notices, listener);
    } catch (error) {
      adapter.dispose();
      throw error;
    }
    return adapter;
  }

  private static async load(folder: string, given: string, model: LlamaModel, takesAny: boolean): Promise<RedAdapter> {
    const file = await readAdapterConfig(folder, given);
    const mismatch = await baseMismatch(folder, file, model);
    if (mismatch !== undefined && !takesAny)
      throw new RubricateError("ERR_BASE_MISMATCH", `${mismatch}; allowBaseMismatch accepts it`);
    const { hidden, stacks } = model.architecture;
    if (file.hidden !== hidden || file.layers.at(-1)! >= stacks[0].layers)
      throw new RubricateError(
        "ERR_ADAPTER_FORMAT",
        `Expected an adapter for ${stacks[0].layers} layers of width ${hidden} in ${folder} but its vectors are for layer ` +
          `${file.layers.at(-1)} of width ${file.hidden}`,
      );
    const { variant, sites, layers } = file;
    const notices = tokenizerNotices(folder, file.tokenizer, model);
    if (mismatch !== undefined) notices.unshift({ code: "RUBRICATE_BASE_MISMATCH", message: mismatch });
    const adapter = RedAdapter.build(model, { variant, sites, layers, hidden }, notices);
    try {
      const { names, widths } = adapter.handle;
      const expected = new Map(names.map((name, at) => [name, widths[at]!]));
      const most = mostBytes(names.length, adapter.parameterCount);
      adapter.setVectors(await readAdapterVectors(folder, () => expected, most));
    } catch (error) {
      adapter.dispose();
      throw error;
    }
    return adapter;
  }

  /**
   * Writes the adapter into a folder, which is created if needed; other files in it stay. Atomic: after a crash or with a
   * full disk the earlier adapter is still there.
   * @throws RubricateError ERR_FILE, also if the folder has a model; ERR_NOT_FINITE, ERR_DISPOSED
   */
  async savePretrained(dir: string): Promise<void> {
    const folder = resolve(pathOf("dir", dir));
    const vectors = this.vectors();
    await writeInto(folder, adapterFiles(await this.fileConfig(), vectors), async () => {
      await requireNoModel(folder);
      return [];
    });
  }

  /** The contents of adapter_config.json. @internal */
  async fileConfig(): Promise<AdapterFileConfig> {
    const { variant, sites, layers, hidden } = this.config;
    const base = { ...(await this.model.fingerprint()), name: basename(this.model.dir) };
    const tokenizer = tokenizerHashes(this.model.tokenizer);
    return { format: 1, kind: "red", variant, sites, layers, hidden, base, tokenizer, rubricate: native().version };
  }

  /** The handle of the native core. @internal */
  get native(): NativeAdapter {
    if (this.disposed) throw new RubricateError("ERR_DISPOSED", "Expected an adapter in use but it was disposed of");
    return this.handle;
  }

  /**
   * The handle, for a call of `model`. Vectors trained on one model are meaningless for another model of the same shape.
   * @throws RubricateError ERR_FOREIGN, ERR_DISPOSED
   * @internal
   */
  nativeFor(model: { readonly dir: string; readonly native: NativeModel }): NativeAdapter {
    if (this.model !== model && !haveSameCore(this.model, model))
      throw new RubricateError(
        "ERR_FOREIGN",
        `Expected an adapter of this model (${model.dir}) but received one that was created or loaded for another model ` +
          `object (${this.model.dir}); load it for this model: RedAdapter.fromPretrained(dir, model)`,
      );
    return this.native;
  }

  /** Trainable numbers. */
  get parameterCount(): number {
    return this.native.widths.reduce((sum, width) => sum + width, 0);
  }

  /** Copies of the vectors by canonical name ("layers.0.mlp.down_proj.scale"), fp32 [width]. */
  vectors(): Map<string, Float32Array> {
    return this.byName(this.native.values());
  }

  /** Gradients of the last backward, before clipping, by the vectors' names, fp32 [width]. */
  gradients(): Map<string, Float32Array> {
    return this.byName(this.native.gradients());
  }

  /**
   * Overwrites vectors by name; the others stay. If one is refused, none is written.
   * @throws RubricateError ERR_ARGUMENT for an unknown name, ERR_SHAPE, ERR_NOT_FINITE, ERR_BUSY while a job or a training
   * run uses the adapter
   */
  setVectors(vectors: ReadonlyMap<string, Float32Array>): void {
    if (isClaimed(this.native))
      throw new RubricateError("ERR_BUSY", "The adapter is in use by a training run that has not ended");
    const values = this.native.values();
    const places = this.byName(values, true);
    readArgument("vectors", "a Map of names and numbers", () => {
      if (Object.prototype.toString.call(vectors) !== "[object Map]")
        throw invalid("vectors", "a Map of names and numbers", vectors);
      for (const [name, given] of vectors) {
        const place = places.get(name);
        if (!place) throw invalid("vectors", `names among ${this.native.names[0]}, ...`, name);
        setVector(name, place, given);
      }
    });
    this.native.setValues(values);
  }

  /** Distance of each site from the identity. */
  stats(): SiteStats[] {
    const sites = new Map<string, { site: string; scale?: VectorStats; bias?: VectorStats }>();
    for (const [name, values] of this.vectors()) {
      const match = /^(.*_proj)\.(scale|bias)$/.exec(name);
      if (!match) continue;
      const [, site, part] = match as unknown as [string, string, "scale" | "bias"];
      if (!sites.has(site)) sites.set(site, { site });
      sites.get(site)![part] = distance(values, part === "scale" ? 1 : 0);
    }
    return [...sites.values()];
  }

  /** Frees its memory. Further calls throw ERR_DISPOSED. */
  dispose(): void {
    if (this.disposed) return;
    this.disposed = true;
    this.handle.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  private byName(flat: Float32Array, shared = false): Map<string, Float32Array> {
    const { names, widths } = this.native;
    const vectors = new Map<string, Float32Array>();
    let start = 0;
    for (const [at, name] of names.entries()) {
      const end = start + widths[at]!;
      vectors.set(name, shared ? flat.subarray(start, end) : flat.slice(start, end));
      start = end;
    }
    return vectors;
  }
}

/** Whether two objects are the same model, as a proxy and its target are. */
function haveSameCore(one: { readonly native: NativeModel }, other: { readonly native: NativeModel }): boolean {
  try {
    return one.native === other.native;
  } catch {
    return false; // one of them was disposed of
  }
}

/** @throws RubricateError ERR_DISPOSED */
function requireInUse(model: LlamaModel): void {
  void model.native;
}

/** Copies numbers as float32 into the vector `place`. */
function setVector(name: string, place: Float32Array, given: ArrayLike<number>): void {
  const length = lengthOf(name, `${place.length} numbers`, given);
  if (length !== place.length) throw invalid(name, `${place.length} numbers`, given, "ERR_SHAPE");
  for (let at = 0; at < length; at++) {
    const value = given[at]!;
    if (typeof value !== "number") throw invalid(`${name}[${at}]`, "a number", value);
    place[at] = value;
    if (!Number.isFinite(place[at]))
      throw invalid(`${name}[${at}]`, "a finite float32 number", value, "ERR_NOT_FINITE");
  }
}

function checkedLayers(layers: readonly number[] | "all", count: number): number[] {
  if (layers === "all") return Array.from({ length: count }, (_, layer) => layer);
  const list = listOf("layers", '"all" or at least one layer', layers, count);
  if (list.length === 0) throw invalid("layers", '"all" or at least one layer', layers);
  for (const layer of list)
    if (!Number.isInteger(layer) || layer < 0 || layer >= count)
      throw invalid("layers", `layer numbers from 0 to ${count - 1}`, layer);
  const sorted = list.sort((a, b) => a - b);
  for (const [at, layer] of sorted.entries())
    if (at > 0 && layer === sorted[at - 1]) throw invalid("layers", "each layer once", layer);
  return sorted;
}

/** Distance of a vector from its identity: mean and maximum. */
export function distance(values: Float32Array, identity: number): VectorStats {
  let sum = 0;
  let max = 0;
  for (const value of values) {
    const away = Math.abs(value - identity);
    sum += away;
    max = Math.max(max, away);
  }
  return { mean: sum / values.length, max };
}
