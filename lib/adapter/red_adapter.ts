import { resolve } from "node:path";
import { requireModel } from "../brands";
import { markCopy } from "../copies";
import { invalid, RubricateError } from "../errors";
import type { FileContents } from "../files/atomic";
import { mostBytes } from "../files/safetensors";
import { type Architecture, hasGate } from "../model/architecture";
import type { LanguageModel } from "../model/model";
import type { NativeAdapter } from "../native";
import type { Notice } from "../notices";
import { checkOptions, listOf, type OptionNames, pathOf } from "../options";
import { Adapter, type LoadAdapterOptions, loadFolder, newHandle, requireInUse } from "./adapter";
import { baseMismatch, originOf, tokenizerNotices } from "./base_match";
import {
  type AdapterFileConfig,
  isSiteList,
  type RedAdapterConfig,
  type RedSite,
  type RedVariant,
  redSites,
  redVariants,
} from "./config";
import { adapterFiles, readAdapterConfig, readAdapterVectors } from "./files";
import { checkedLayers } from "./method_base";
import type { AdapterPlan } from "./plan";
import { redPlan } from "./red_plan";
import { readReference } from "./reference";

export interface RedAdapterOptions {
  /** Default: "all", scale and bias. */
  readonly variant?: RedVariant;
  /** Default: ["ffn"]. */
  readonly sites?: readonly RedSite[];
  /** Layer numbers from 0. Default: "all". */
  readonly layers?: readonly number[] | "all";
}

const optionNames: OptionNames<RedAdapterOptions> = { variant: true, sites: true, layers: true };

/** The configuration of options whose names were checked. @throws RubricateError ERR_ARGUMENT */
export function redConfigOf(options: RedAdapterOptions, architecture: Architecture): RedAdapterConfig {
  const { variant = "all", sites: given = ["ffn"], layers = "all" } = options;
  const siteList = `some of ${redSites.join(", ")}, each once`;
  const sites = listOf("sites", siteList, given);
  if (!redVariants.includes(variant)) throw invalid("variant", `one of ${redVariants.join(", ")}`, variant);
  if (!isSiteList(sites)) throw invalid("sites", siteList, given);
  if (sites.includes("gate") && !hasGate(architecture))
    throw invalid("sites", "sites other than gate, which a feed-forward without a gate lacks,", given);
  const { hidden, stacks } = architecture;
  return { variant, sites, layers: checkedLayers(layers, stacks[0].layers), hidden };
}

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
export class RedAdapter extends Adapter {
  static {
    markCopy(RedAdapter);
  }

  readonly method = "red";
  /** @internal */
  readonly loader = "RedAdapter.fromPretrained";

  private constructor(
    model: LanguageModel,
    readonly config: RedAdapterConfig,
    handle: NativeAdapter,
    notices: readonly Notice[] = [],
  ) {
    super(model, handle, notices);
  }

  /** @internal */
  get sites(): readonly RedSite[] {
    return this.config.sites;
  }

  /**
   * A new adapter for a model: scales 1, biases 0.
   * @throws RubricateError ERR_ARGUMENT, ERR_DISPOSED
   */
  static create(model: LanguageModel, options: RedAdapterOptions = {}): RedAdapter {
    requireModel(model);
    const given = checkOptions(options, optionNames, "RedAdapter.create");
    requireInUse(model);
    const config = redConfigOf(given, model.architecture);
    return RedAdapter.build(model, config);
  }

  private static build(model: LanguageModel, config: RedAdapterConfig, notices?: readonly Notice[]): RedAdapter {
    const handle = newHandle(model, redPlan(model.architecture, config));
    return new RedAdapter(model, Object.freeze(config), handle, notices);
  }

  /**
   * Loads an adapter that `savePretrained` wrote. Strict: every vector must be present, of the right width and finite.
   * @throws RubricateError ERR_ARGUMENT, ERR_FILE, ERR_ADAPTER_FORMAT, ERR_BASE_MISMATCH, ERR_DISPOSED
   */
  static fromPretrained(dir: string, model: LanguageModel, options: LoadAdapterOptions = {}): Promise<RedAdapter> {
    const load = (folder: string, takesAny: boolean) => RedAdapter.load(folder, dir, model, takesAny);
    return loadFolder(dir, model, options, "RedAdapter.fromPretrained", load);
  }

  private static async load(
    folder: string,
    given: string,
    model: LanguageModel,
    takesAny: boolean,
  ): Promise<RedAdapter> {
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
      const { names, shapes } = adapter.native;
      const expected = new Map(names.map((name, at) => [name, shapes[at]!]));
      const most = mostBytes(names.length, adapter.parameterCount);
      adapter.setVectors(await readAdapterVectors(folder, () => expected, most));
    } catch (error) {
      adapter.dispose();
      throw error;
    }
    return adapter;
  }

  /**
   * Reads an adapter of RED's reference implementation (github.com/mlwu22/RED): the `delta_vector.pth` of a LLaMA, whose names
   * Mistral and Qwen share, or of a GPT-2. Its numbers are kept to the bit. The file does not say which weights it was
   * trained on: `savePretrained` records `model` as its base.
   * @param path of the file; nothing in it is executed
   * @throws RubricateError ERR_ARGUMENT, ERR_FILE, ERR_TORCH_FILE, ERR_ADAPTER_FORMAT if its vectors are not those of all
   * layers of `model`, ERR_DISPOSED
   */
  static async fromReference(path: string, model: LanguageModel): Promise<RedAdapter> {
    const file = resolve(pathOf("path", path)); // before the working directory can change
    requireModel(model);
    requireInUse(model);
    const { config, vectors } = await readReference(file, model.architecture);
    requireInUse(model);
    const adapter = RedAdapter.build(model, config);
    adapter.setVectors(vectors);
    return adapter;
  }

  /** @internal */
  plan(): AdapterPlan {
    return redPlan(this.model.architecture, this.config);
  }

  /** @internal */
  override async files(): Promise<FileContents[]> {
    const parameters = [...this.vectors()].map(([name, values]) => ({ name, shape: [values.length], values }));
    return adapterFiles(await this.fileConfig(), parameters);
  }

  /** The contents of adapter_config.json. @internal */
  async fileConfig(): Promise<AdapterFileConfig> {
    const { variant, sites, layers, hidden } = this.config;
    const { format, ...origin } = await originOf(this.model);
    return { format, kind: "red", variant, sites, layers, hidden, ...origin };
  }

  /** Copies of the vectors by canonical name ("layers.0.mlp.down_proj.scale"), fp32 [width]. */
  override vectors(): Map<string, Float32Array> {
    return super.vectors();
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
