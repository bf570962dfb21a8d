import { requireModel } from "../brands";
import { invalid } from "../errors";
import type { LanguageModel } from "../model/model";
import { checkOptions, type OptionNames } from "../options";
import { type Adapter, requireInUse } from "./adapter";
import { type MethodCall, type MethodFunction, requireCall } from "./method";
import { MethodAdapter } from "./method_adapter";
import { methodOf } from "./methods";

/** Options of `createAdapter`. */
export interface CreateAdapterOptions {
  /** Of the random numbers among the first values: an integer in [0, 2^53). Default: 0. */
  readonly seed?: number;
}

const optionNames: OptionNames<CreateAdapterOptions> = { seed: true };

/**
 * A new adapter of any method, such as `createAdapter(model, bottleneck({ size: 16 }))`. docs/methods.md has the methods, and
 * `defineMethod` makes others.
 * @param method a method with its options; the method itself: with its defaults
 * @returns a `RedAdapter`, `LoraAdapter` or `Ia3Adapter` for `red`, `lora` and `ia3`, otherwise a `MethodAdapter`
 * @throws RubricateError ERR_ARGUMENT, ERR_DISPOSED; ERR_PLAN for the plan of a method of one's own
 */
export async function createAdapter(
  model: LanguageModel,
  method: MethodCall | MethodFunction,
  options: CreateAdapterOptions = {},
): Promise<Adapter> {
  requireModel(model);
  const call = requireCall(method);
  const known = methodOf(call.kind);
  if ((known !== undefined && known !== call.method) || call.kind === "full")
    throw invalid("the kind of a method of one's own", "a name that none of this package has", call.kind);
  const { seed = 0 } = checkOptions(options, optionNames, "createAdapter");
  if (!Number.isSafeInteger(seed) || seed < 0) throw invalid("seed", "an integer in [0, 2^53)", seed);
  requireInUse(model);
  if (call.method.create) return call.method.create(model, call.options, seed);
  return MethodAdapter.create(model, call.method, call.options, seed);
}
