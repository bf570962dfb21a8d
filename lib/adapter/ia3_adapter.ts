import { requireModel } from "../brands";
import { markCopy } from "../copies";
import { formatJson, invalid, RubricateError } from "../errors";
import type { FileContents } from "../files/atomic";
import { type Architecture, hasGate } from "../model/architecture";
import type { LanguageModel } from "../model/model";
import type { NativeAdapter } from "../native";
import type { Notice } from "../notices";
import { checkOptions, listOf, type OptionNames } from "../options";
import { Adapter, type LoadAdapterOptions, loadFolder, newHandle, requireInUse } from "./adapter";
import { originNotices, originOf } from "./base_match";
import type { RedSite } from "./config";
import { adapterFiles } from "./files";
import {
  type Ia3AdapterConfig,
  type Ia3Module,
  ia3Document,
  ia3Modules,
  isModuleList,
  parseIa3Config,
  usualFeedforward,
  usualTargets,
} from "./ia3_config";
import { ia3Plan, storedShape } from "./ia3_plan";
import { isModuleChoice, modulesOf } from "./lora_config";
import { sitesOf } from "./lora_plan";
import { readPeftDocument, requireGateFor } from "./peft_folder";
import { storedIa3 } from "./peft_layout";
import type { AdapterPlan } from "./plan";
import { peftDtypes, withParametersOf } from "./read_parameters";

export interface Ia3AdapterOptions {
  /** The linear layers to scale, or "all-linear". Default: ["k_proj", "v_proj", "down_proj"], as in the paper. */
  readonly targetModules?: readonly Ia3Module[] | "all-linear";
  /** Those of them whose input is scaled, not the output. Default: down_proj, if it is one of them. */
  readonly feedforwardModules?: readonly Ia3Module[];
}

const optionNames: OptionNames<Ia3AdapterOptions> = { targetModules: true, feedforwardModules: true };

/** The configuration of options whose names were checked. @throws RubricateError ERR_ARGUMENT */
export function ia3ConfigOf(options: Ia3AdapterOptions, architecture: Architecture): Ia3AdapterConfig {
  const { targetModules: modules = usualTargets, feedforwardModules } = options;
  const moduleList = `"all-linear" or some of ${ia3Modules.join(", ")}, each once`;
  const choice = typeof modules === "string" ? modules : listOf("targetModules", moduleList, modules);
  if (!isModuleChoice(choice)) throw invalid("targetModules", moduleList, modules);
  const gated = hasGate(architecture);
  if (!gated && choice.includes("gate_proj"))
    throw invalid("targetModules", "modules other than gate_proj, which a feed-forward without a gate lacks,", modules);
  const targetModules = modulesOf(choice, gated);
  if (feedforwardModules === undefined) return { targetModules, feedforwardModules: usualFeedforward(targetModules) };
  const some = `some of targetModules (${targetModules.join(", ")}), each once,`;
  const given = listOf("feedforwardModules", some, feedforwardModules);
  const other = given.find((name) => !targetModules.includes(name));
  if (other !== undefined) throw invalid("feedforwardModules", some, other);
  if (!isModuleList(given)) throw invalid("feedforwardModules", some, feedforwardModules);
  return { targetModules, feedforwardModules: targetModules.filter((name) => given.includes(name)) };
}

/**
 * An (IA)3 adapter (Liu et al., arXiv 2205.05638): at each of its linear layers y = scale * (W x + b), or for a feed-forward
 * module y = W (scale * x) + b, in all layers. The parameters have PEFT's names, such as
 * "base_model.model.model.layers.0.mlp.down_proj.ia3_l", fp32 [outputs], or [inputs]. Its folder is one of PEFT. A new
 * adapter changes nothing: all scales are 1.
 */
export class Ia3Adapter extends Adapter {
  static {
    markCopy(Ia3Adapter);
  }

  readonly method = "ia3";
  /** @internal */
  readonly loader = "Ia3Adapter.fromPretrained";

  private constructor(
    model: LanguageModel,
    readonly config: Ia3AdapterConfig,
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
   * A new adapter for a model, which changes nothing: all scales are 1.
   * @throws RubricateError ERR_ARGUMENT, ERR_DISPOSED
   */
  static create(model: LanguageModel, options: Ia3AdapterOptions = {}): Ia3Adapter {
    requireModel(model);
    const given = checkOptions(options, optionNames, "Ia3Adapter.create");
    requireInUse(model);
    return Ia3Adapter.build(model, ia3ConfigOf(given, model.architecture));
  }

  private static build(model: LanguageModel, config: Ia3AdapterConfig, notices?: readonly Notice[]): Ia3Adapter {
    const handle = newHandle(model, ia3Plan(model.architecture, config));
    return new Ia3Adapter(model, Object.freeze(config), handle, notices);
  }

  /**
   * Loads an adapter that `savePretrained` or PEFT wrote. Strict: every vector must be present, of the right shape and
   * finite, and a configuration that asks for something that is not computed here is refused. PEFT records no fingerprint
   * of the base: then only the shapes are checked, and a notice says so.
   * @throws RubricateError ERR_ARGUMENT, ERR_FILE, ERR_ADAPTER_FORMAT, ERR_BASE_MISMATCH, ERR_DISPOSED
   */
  static fromPretrained(dir: string, model: LanguageModel, options: LoadAdapterOptions = {}): Promise<Ia3Adapter> {
    const load = (folder: string, takesAny: boolean) => Ia3Adapter.load(folder, dir, model, takesAny);
    return loadFolder(dir, model, options, "Ia3Adapter.fromPretrained", load);
  }

  private static async load(
    folder: string,
    given: string,
    model: LanguageModel,
    takesAny: boolean,
  ): Promise<Ia3Adapter> {
    const { document, path } = await readPeftDocument(folder, given, "an (IA)3 adapter");
    const file = parseIa3Config(document, path, model.description);
    const { targetModules, feedforwardModules, layers, origin } = file;
    const notices = await originNotices(folder, origin, model, takesAny);
    const count = model.architecture.stacks[0].layers;
    if (layers && (layers.length !== count || layers.at(-1) !== count - 1))
      throw new RubricateError(
        "ERR_ADAPTER_FORMAT",
        `Expected target_modules in layers 0 to ${count - 1}, all of the model, in ${path} but received those of layers ${formatJson(layers)}`,
      );
    requireGateFor(targetModules, folder, model);
    const config = { targetModules, feedforwardModules };
    return withParametersOf(
      Ia3Adapter.build(model, config, notices),
      folder,
      peftDtypes,
      file.stored && storedIa3(model.description, config, file.stored),
    );
  }

  /** @internal */
  plan(): AdapterPlan {
    return ia3Plan(this.model.architecture, this.config);
  }

  /** @internal */
  override storedShapes(): readonly (readonly number[])[] {
    const { names, shapes } = this.native;
    return names.map((name, at) => storedShape(name, shapes[at]![0]!, this.config.feedforwardModules));
  }

  /** @internal */
  override async files(): Promise<FileContents[]> {
    const shapes = this.storedShapes();
    const tensors = [...this.vectors()].map(([name, values], at) => ({ name, shape: shapes[at]!, values }));
    return adapterFiles(ia3Document(this.config, await originOf(this.model)), tensors);
  }
}
