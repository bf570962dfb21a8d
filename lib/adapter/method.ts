/**
 * Methods: how a frozen model is changed with few trained numbers. A method is data and a few functions; the core runs the plan
 * that it writes, and knows no method by name.
 */
import { hasBrand } from "../brands";
import { invalid } from "../errors";
import type { LanguageModel } from "../model/model";
import { listOf, readArgument } from "../options";
import type { Adapter } from "./adapter";
import type { MethodBase } from "./method_base";
import type { PeftMethod } from "./peft_method";
import type { AdapterPlan, PlanIndex } from "./plan";

/**
 * A method. Options is what a caller gives, Config what an adapter of it has: all options, checked, with their defaults. A
 * configuration is written into folders as JSON, and checked again as options when a folder is read.
 */
export interface Method<Options extends object, Config extends object = Options> {
  /** Its name: in folders, of `Adapter.method`, of `--method`. Lower-case letters, digits, "_" and "+", at most 32. */
  readonly kind: string;
  /** The names of its options. Others are refused. */
  readonly options: readonly (keyof Options & string)[];
  /** Names of further options that no flag of the command line gives: lists that a configuration has, or objects. */
  readonly otherOptions?: readonly (keyof Options & string)[];
  /** What it trains depends on the training data: `check` of a new adapter needs the option `sensitivities`. @internal */
  readonly needsData?: true;
  /**
   * The configuration for a base.
   * @throws RubricateError ERR_ARGUMENT for an option that is wrong, or does not fit the base
   */
  check(options: Options, base: MethodBase): Config;
  /** What the core runs. It depends on nothing but the configuration and the base: no folder holds a plan. */
  plan(config: Config, base: MethodBase): AdapterPlan;
  /**
   * For a plan with indices: the entries of one, of a new adapter. A folder stores them, so loading one does not ask again.
   * @param weight the matrix of the base, by rows, as float32
   * @param options those of the call
   * @returns the places of the entries in it, ascending, each once
   */
  choose?(weight: Float32Array, index: PlanIndex, config: Config, options: Options): Int32Array | Promise<Int32Array>;
  /**
   * First values of a new adapter's parameters, by name; the others are filled with their `start` of the plan.
   * @param seed an integer in [0, 2^53): the same seed must give the same values
   */
  start?(plan: AdapterPlan, config: Config, seed: number): Iterable<readonly [name: string, values: Float32Array]>;
  /** The default learning rate for models up to 200 wide; for wider ones it falls in proportion. Default: 0.001. */
  readonly learningRate?: number;
  /** For one whose adapters' folders are PEFT's. @internal */
  readonly peft?: PeftMethod;
  /** For an adapter that has a class of its own. @internal */
  readonly create?: (model: LanguageModel, options: Options, seed: number) => Adapter | Promise<Adapter>;
}

/** A method with whatever options and configuration it has. */
export type AnyMethod = Omit<Method<object, object>, "options" | "otherOptions"> & {
  readonly options: readonly string[];
  readonly otherOptions?: readonly string[];
};

const callBrand = Symbol("rubricate.MethodCall");

/** A method with its options, for `createAdapter`. */
export interface MethodCall {
  /** The method's name. */
  readonly kind: string;
  /** @internal */
  readonly method: AnyMethod;
  /** @internal */
  readonly options: object;
}

/** A method as a function of its options, such as `bottleneck`. */
export interface MethodFunction<Options extends object = object> {
  (options?: Options): MethodCall;
  /** The method's name. */
  readonly kind: string;
  /** @internal */
  readonly method: AnyMethod;
}

const kindPattern = /^[a-z][a-z0-9_+]{0,31}$/;

/**
 * Makes a method usable: `createAdapter(model, method(options))`. An adapter of it is trained, saved, merged, served and mixed with
 * others in a batch as those of the package's own methods.
 * @throws RubricateError ERR_ARGUMENT if the definition lacks something
 */
export function defineMethod<Options extends object, Config extends object = Options>(
  method: Method<Options, Config>,
): MethodFunction<Options> {
  const what = "an object with kind, options, check and plan";
  if (typeof method !== "object" || method === null) throw invalid("method", what, method);
  const given = readArgument("method", what, () => ({ ...method }));
  if (typeof given.kind !== "string" || !kindPattern.test(given.kind))
    throw invalid("kind", 'a name of lower-case letters, digits, "_" and "+", at most 32,', given.kind);
  for (const name of ["options", "otherOptions"] as const) {
    const names: unknown = given[name] ?? (name === "otherOptions" ? [] : undefined);
    if (!Array.isArray(names) || !names.every((one) => typeof one === "string"))
      throw invalid(name, "a list of names", names);
  }
  for (const name of ["check", "plan", "start", "choose"] as const) {
    const isOptional = name === "start" || name === "choose";
    if (typeof given[name] !== "function" && !(isOptional && given[name] === undefined))
      throw invalid(name, "a function", given[name]);
  }
  const rate = given.learningRate;
  if (rate !== undefined && !(typeof rate === "number" && rate > 0 && Number.isFinite(rate)))
    throw invalid("learningRate", "a positive number", rate);
  const own = Object.freeze(given) as unknown as AnyMethod;
  const call = (options: Options = {} as Options): MethodCall =>
    Object.freeze({ [callBrand]: true, kind: own.kind, method: own, options });
  return Object.freeze(Object.assign(call, { kind: own.kind, method: own, [callBrand]: true }));
}

const isFunction = (value: unknown): value is MethodFunction =>
  typeof value === "function" && readArgument("method", "a method", () => callBrand in value);

/** @throws RubricateError ERR_ARGUMENT */
export function requireCall(value: unknown): MethodCall {
  if (isFunction(value)) return value();
  if (!hasBrand(value, callBrand))
    throw invalid("method", "a method with its options, such as lora({ rank: 8 }),", value);
  return value as MethodCall;
}

/** @throws RubricateError ERR_ARGUMENT */
export function requireMethods(value: unknown): readonly MethodFunction[] {
  const what = "a list of methods that defineMethod returned";
  const given = listOf("methods", what, value as readonly unknown[]);
  if (!given.every(isFunction)) throw invalid("methods", what, value);
  return given;
}
