import { resolve } from "node:path";
import { requireModel } from "../brands";
import { formatJson, RubricateError } from "../errors";
import { isObject, parseJson } from "../files/json";
import type { LanguageModel } from "../model/model";
import { checkOptions, type OptionNames, pathOf } from "../options";
import { type LoadAdapterOptions, loadFolder } from "./adapter";
import { readAdapterText } from "./files";
import { Ia3Adapter } from "./ia3_adapter";
import { LoraAdapter } from "./lora_adapter";
import { type AnyMethod, type MethodFunction, requireMethods } from "./method";
import { MethodAdapter } from "./method_adapter";
import { methodKinds, methodOf } from "./methods";
import { RedAdapter } from "./red_adapter";

/** Options of `loadAdapter`. */
export interface LoadAnyAdapterOptions extends LoadAdapterOptions {
  /** Methods of one's own, which `defineMethod` returned, beside those of the package. Default: none. */
  readonly methods?: readonly MethodFunction<never>[];
}

const optionNames: OptionNames<LoadAnyAdapterOptions> = { allowBaseMismatch: true, onNotice: true, methods: true };

/** The methods of PEFT that can be loaded, by peft_type. */
const peftMethods: ReadonlyMap<unknown, string> = new Map([
  ["LORA", "lora"],
  ["IA3", "ia3"],
  ["LN_TUNING", "norms"],
]);

const classes = new Map<string, typeof RedAdapter | typeof LoraAdapter | typeof Ia3Adapter>([
  ["red", RedAdapter],
  ["lora", LoraAdapter],
  ["ia3", Ia3Adapter],
]);

/** The name of the method of an adapter's folder. Whether the folder is right, the method's own loading says. */
export async function methodIn(dir: string, given = dir): Promise<string> {
  const { text, path } = await readAdapterText(dir, given);
  const document = parseJson(text, path, "ERR_ADAPTER_FORMAT");
  if (!isObject(document)) return "red";
  if (document.peft_type !== undefined) return peftMethods.get(document.peft_type) ?? "red";
  return typeof document.kind === "string" ? document.kind : "red";
}

/** The method of a folder without a class of its own. */
function ownMethod(kind: string, folder: string, own: readonly MethodFunction[]): AnyMethod {
  const found = own.find((method) => method.kind === kind)?.method ?? methodOf(kind);
  if (found) return found;
  const known = [...methodKinds, ...own.map((method) => method.kind)].join(", ");
  throw new RubricateError(
    "ERR_ADAPTER_FORMAT",
    `Expected an adapter of one of the methods ${known} in ${folder} but its kind is ${formatJson(kind)}; a method of ` +
      "your own is given as one of `methods`",
  );
}

/**
 * Loads an adapter of any method: a `RedAdapter`, a `LoraAdapter` or an `Ia3Adapter` that this package or PEFT wrote, or a
 * `MethodAdapter`.
 * @throws RubricateError what `fromPretrained` of its class throws
 */
export async function loadAdapter(
  dir: string,
  model: LanguageModel,
  options: LoadAnyAdapterOptions = {},
): Promise<RedAdapter | LoraAdapter | Ia3Adapter | MethodAdapter> {
  const folder = resolve(pathOf("dir", dir)); // before the working directory can change
  requireModel(model);
  const { methods: given, ...others } = { ...checkOptions(options, optionNames, "loadAdapter") };
  const own = requireMethods(given ?? []);
  const kind = await methodIn(folder, dir);
  const Class = classes.get(kind);
  if (Class) return Class.fromPretrained(folder, model, others);
  const method = ownMethod(kind, folder, own);
  const load = (at: string, takesAny: boolean) => MethodAdapter.load(at, dir, model, takesAny, method);
  return loadFolder(folder, model, others, "loadAdapter", load);
}
