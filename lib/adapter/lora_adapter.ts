import { requireModel } from "../brands";
import { markCopy } from "../copies";
import { invalid, RubricateError } from "../errors";
import type { FileContents } from "../files/atomic";
import { type Architecture, hasGate } from "../model/architecture";
import type { LanguageModel } from "../model/model";
import type { NativeAdapter } from "../native";
import type { Notice } from "../notices";
import { booleanOf, checkOptions, listOf, type OptionNames } from "../options";
import { inSlices } from "../steps";
import { Adapter, type LoadAdapterOptions, loadFolder, newHandle, requireInUse } from "./adapter";
import { originNotices, originOf } from "./base_match";
import type { RedSite } from "./config";
import { adapterFiles } from "./files";
import {
  isModuleChoice,
  type LoraAdapterConfig,
  type LoraModule,
  loraDocument,
  loraModules,
  modulesOf,
  parseLoraConfig,
} from "./lora_config";
import { loraPlan, loraStart, sitesOf } from "./lora_plan";
import { checkedLayers } from "./method_base";
import { checkedAlpha, checkedOption, rankKind } from "./method_options";
import { readPeftDocument, requireGateFor } from "./peft_folder";
import { storedLora } from "./peft_layout";
import type { AdapterPlan } from "./plan";
import { peftDtypes, withParametersOf } from "./read_parameters";

export interface LoraAdapterOptions {
  /** Rows of A and columns of B, 1 to 8,192. Default: 8. */
  readonly rank?: number;
  /** The update is multiplied by alpha / rank. Default: 8, as in PEFT. */
  readonly alpha?: number;
  /** The linear layers to update, or "all-linear". Default: ["q_proj", "v_proj"], as in PEFT for LLaMA. */
  readonly targetModules?: readonly LoraModule[] | "all-linear";
  /** Layer numbers from 0. Default: "all". */
  readonly layers?: readonly number[] | "all";
  /** Multiplies the update by alpha / sqrt(rank) (arXiv 2312.03732), PEFT's `use_rslora`. Default: false. */
  readonly rankStabilized?: boolean;
  /** Of the random numbers in A: an integer in [0, 2^53). Default: 0. */
  readonly seed?: number;
}

const optionNames: OptionNames<LoraAdapterOptions> = {
  rank: true,
  alpha: true,
  targetModules: true,
  layers: true,
  rankStabilized: true,
  seed: true,
};

/** The configuration of options whose names were checked. @throws RubricateError ERR_ARGUMENT */
export function loraConfigOf(given: Omit<LoraAdapterOptions, "seed">, architecture: Architecture): LoraAdapterConfig {
  const { rank = 8, alpha = 8, targetModules: modules = ["q_proj", "v_proj"], layers = "all" } = given;
  checkedOption("rank", rankKind, rank);
  checkedAlpha(alpha);
  const moduleList = `"all-linear" or some of ${loraModules.join(", ")}, each once`;
  const targetModules = typeof modules === "string" ? modules : listOf("targetModules", moduleList, modules);
  if (!isModuleChoice(targetModules)) throw invalid("targetModules", moduleList, modules);
  const gated = hasGate(architecture);
  if (!gated && targetModules.includes("gate_proj"))
    throw invalid("targetModules", "modules other than gate_proj, which a feed-forward without a gate lacks,", modules);
  return {
    rank,
    alpha,
    targetModules: modulesOf(targetModules, gated),
    layers: checkedLayers(layers, architecture.stacks[0].layers),
    rankStabilized: booleanOf("rankStabilized", given.rankStabilized, false),
  };
}

/**
 * A LoRA adapter (Hu et al., arXiv 2106.09685): at each of its linear layers y = W x + b + factor * B (A x), with factor
 * alpha / rank. The parameters have PEFT's names, such as "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
 * [rank, inputs] and "...lora_B.weight" [outputs, rank], in rows. Its folder is one of PEFT.
 */
export class LoraAdapter extends Adapter {
  static {
    markCopy(LoraAdapter);
  }

  readonly method = "lora";
  /** @internal */
  readonly loader = "LoraAdapter.fromPretrained";

  private constructor(
    model: LanguageModel,
    readonly config: LoraAdapterConfig,
    handle: NativeAdapter,
    notices: readonly Notice[] = [],
  ) {
    super(model, handle, notices);
  }

  /** @internal */
  get sites(): readonly RedSite[] {
    return sitesOf(this.config.targetModules);
  }

  /**
   * A new adapter for a model, which changes nothing: A is uniform in [-1, 1) / sqrt(inputs), as in PEFT, and B is 0.
   * @throws RubricateError ERR_ARGUMENT, ERR_DISPOSED
   */
  static async create(model: LanguageModel, options: LoraAdapterOptions = {}): Promise<LoraAdapter> {
    requireModel(model);
    const given = checkOptions(options, optionNames, "LoraAdapter.create");
    requireInUse(model);
    const { seed = 0 } = given;
    const config = loraConfigOf(given, model.architecture);
    if (!Number.isSafeInteger(seed) || seed < 0) throw invalid("seed", "an integer in [0, 2^53)", seed);
    const adapter = LoraAdapter.build(model, config);
    try {
      adapter.native.setValues(await inSlices(loraStart(adapter.plan(), seed)));
      requireInUse(model);
    } catch (error) {
      adapter.dispose();
      throw error;
    }
    return adapter;
  }

  private static build(model: LanguageModel, config: LoraAdapterConfig, notices?: readonly Notice[]): LoraAdapter {
    const handle = newHandle(model, loraPlan(model.architecture, config));
    return new LoraAdapter(model, Object.freeze(config), handle, notices);
  }

  /**
   * Loads an adapter that `savePretrained` or PEFT wrote. Strict: every matrix must be present, of the right shape and
   * finite, and a configuration that asks for something that is not computed here is refused. PEFT records no fingerprint
   * of the base: then only the shapes are checked, and a notice says so.
   * @throws RubricateError ERR_ARGUMENT, ERR_FILE, ERR_ADAPTER_FORMAT, ERR_BASE_MISMATCH, ERR_DISPOSED
   */
  static fromPretrained(dir: string, model: LanguageModel, options: LoadAdapterOptions = {}): Promise<LoraAdapter> {
    const load = (folder: string, takesAny: boolean) => LoraAdapter.load(folder, dir, model, takesAny);
    return loadFolder(dir, model, options, "LoraAdapter.fromPretrained", load);
  }

  private static async load(
    folder: string,
    given: string,
    model: LanguageModel,
    takesAny: boolean,
  ): Promise<LoraAdapter> {
    const { document, path } = await readPeftDocument(folder, given, "a LoRA adapter");
    const file = parseLoraConfig(document, path, model.description);
    const notices = await originNotices(folder, file.origin, model, takesAny);
    const count = model.architecture.stacks[0].layers;
    const { rank, alpha, targetModules, rankStabilized, layers = checkedLayers("all", count) } = file;
    if (layers.at(-1)! >= count)
      throw new RubricateError(
        "ERR_ADAPTER_FORMAT",
        `Expected an adapter for ${count} layers in ${folder} but its matrices are for layer ${layers.at(-1)}`,
      );
    requireGateFor(targetModules, folder, model);
    const config = { rank, alpha, targetModules, layers, rankStabilized };
    return withParametersOf(
      LoraAdapter.build(model, config, notices),
      folder,
      peftDtypes,
      file.stored && storedLora(model.description, config, file.stored),
    );
  }

  /** @internal */
  plan(): AdapterPlan {
    return loraPlan(this.model.architecture, this.config);
  }

  /** @internal */
  override async files(): Promise<FileContents[]> {
    const { names, shapes } = this.native;
    const vectors = this.vectors();
    const tensors = names.map((name, at) => ({ name, shape: shapes[at]!, values: vectors.get(name)! }));
    const origin = await originOf(this.model);
    return adapterFiles(loraDocument(this.config, this.model.architecture.stacks[0].layers, origin), tensors);
  }
}
