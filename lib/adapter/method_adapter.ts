import { isDeepStrictEqual } from "node:util";
import { markCopy } from "../copies";
import { formatJson, invalid, RubricateError } from "../errors";
import type { FileContents } from "../files/atomic";
import { isObject, type JsonObject, parseJson } from "../files/json";
import type { LanguageModel } from "../model/model";
import type { NativeAdapter } from "../native";
import type { Notice } from "../notices";
import { checkOptions, type OptionNames } from "../options";
import { inSlices, type Steps } from "../steps";
import { Adapter, type MethodConfig, newHandle, type OtherMethod, requireInUse } from "./adapter";
import { originNotices, originOf } from "./base_match";
import { baseVectors, withBaseConstants } from "./base_vectors";
import type { AdapterOrigin, RedSite } from "./config";
import { adapterFiles, elementCount, readAdapterText } from "./files";
import type { AnyMethod } from "./method";
import { MethodBase } from "./method_base";
import {
  hashOfConstants,
  type MethodFileConfig,
  parseMethodConfig,
  requireConstants,
  requireSizes,
} from "./method_folder";
import { planOf, requireJson, requireStable } from "./method_plan";
import { type PeftMethod, peftDocument, peftOrigin } from "./peft_method";
import { type AdapterPlan, type PlanEntries, sitesOfPlan } from "./plan";
import { chosenEntries, withEntries } from "./plan_indices";
import { peftDtypes, readEntries, withParametersOf } from "./read_parameters";

/** The learning rate of a method for narrow models. */
export const usualRateOf = ({ learningRate }: { readonly learningRate?: number | undefined }): number =>
  learningRate ?? 0.001;

/**
 * An adapter of a method that has no class of its own: `createAdapter` makes one, `loadAdapter` loads one. `method` is the
 * method's name. docs/methods.md says for each method what its parameters are.
 */
export class MethodAdapter extends Adapter {
  static {
    markCopy(MethodAdapter);
  }

  /** The method's name. */
  readonly method: OtherMethod;
  /** The method's options, checked, with their defaults. */
  readonly config: MethodConfig;
  /** @internal */
  readonly loader = "loadAdapter";
  /** @internal */
  override readonly usualRate: number;

  private constructor(
    model: LanguageModel,
    definition: AnyMethod,
    config: object,
    private readonly ownPlan: AdapterPlan,
    private readonly peft: PeftMethod | undefined,
    handle: NativeAdapter,
    notices: readonly Notice[] = [],
  ) {
    super(model, handle, notices);
    this.method = definition.kind as OtherMethod;
    this.config = config as MethodConfig;
    this.usualRate = usualRateOf(definition);
  }

  /** @internal */
  static async create(model: LanguageModel, method: AnyMethod, options: object, seed: number): Promise<MethodAdapter> {
    const base = methodBase(model);
    const config = configOf(method, options, base);
    requireStable(method.kind, config, configOf(method, config, base));
    const declared = planOf(method, config, base);
    const entries = await chosenEntries(model, method, { config, options }, declared);
    const adapter = await MethodAdapter.build(model, method, config, declared, entries);
    try {
      const ofBase = await baseVectors(model, adapter.ownPlan.parameters);
      const values = await inSlices(startValues(method, adapter.ownPlan, config, seed, ofBase));
      if (values) adapter.native.setValues(values);
      requireInUse(model);
      return adapter;
    } catch (error) {
      adapter.dispose();
      throw error;
    }
  }

  private static async build(
    model: LanguageModel,
    method: AnyMethod,
    config: object,
    declared: AdapterPlan,
    entries: PlanEntries,
    notices?: readonly Notice[],
  ): Promise<MethodAdapter> {
    const plan = await withBaseConstants(model, withEntries(declared, entries));
    return new MethodAdapter(model, method, config, plan, method.peft, handleOf(model, method, plan, entries), notices);
  }

  /** @internal */
  static async load(
    folder: string,
    given: string,
    model: LanguageModel,
    takesAny: boolean,
    method: AnyMethod,
  ): Promise<MethodAdapter> {
    const { text, path } = await readAdapterText(folder, given);
    const document = parseJson(text, path, "ERR_ADAPTER_FORMAT");
    if (!isObject(document)) throw new RubricateError("ERR_ADAPTER_FORMAT", `Expected an object in ${path}`);
    const base = methodBase(model);
    const { origin, config, own } = method.peft
      ? readPeftConfig(method, method.peft, document, path, model, base)
      : readOwnConfig(method, document, path, base);
    const notices = await originNotices(folder, origin, model, takesAny);
    const declared = planOf(method, config, base);
    const entries = await readEntries(folder, declared);
    const adapter = await MethodAdapter.build(model, method, config, declared, entries, notices);
    try {
      if (own) requireConstants(own, adapter.ownPlan, path);
    } catch (error) {
      adapter.dispose();
      throw error;
    }
    return withParametersOf(adapter, folder, method.peft ? peftDtypes : ["F32"]);
  }

  /** @internal */
  get sites(): readonly RedSite[] {
    return sitesOfPlan(this.ownPlan);
  }

  /** @internal */
  plan(): AdapterPlan {
    return this.ownPlan;
  }

  /** @internal */
  override storedNames(): readonly string[] {
    const { names } = this.native;
    return this.peft ? names.map(this.peft.namesOf(this.model.description)) : [...names];
  }

  /** @internal */
  override async files(): Promise<FileContents[]> {
    const { names, shapes } = this.native;
    const vectors = this.vectors();
    const stored = this.storedNames();
    const tensors = names.map((name, at) => ({
      name: stored[at]!,
      shape: shapes[at]!,
      values: vectors.get(name)!,
    }));
    const { hidden, stacks } = this.model.architecture;
    const { method: kind, config } = this;
    const origin = await originOf(this.model);
    if (this.peft) return adapterFiles(peftDocument(this.peft, config, this.model.description, origin), tensors);
    const constants = hashOfConstants(this.ownPlan);
    const document = { format: 1, kind, config, layers: stacks[0].layers, hidden, constants };
    const { base, tokenizer, rubricate } = origin;
    return adapterFiles({ ...document, base, tokenizer, rubricate }, tensors, this.storedEntries());
  }
}

/** What a folder says of an adapter. */
interface ReadConfig {
  readonly origin: AdapterOrigin | undefined;
  readonly config: object;
  /** Of a folder that is not PEFT's. */
  readonly own?: MethodFileConfig;
}

function readOwnConfig(method: AnyMethod, document: JsonObject, path: string, base: MethodBase): ReadConfig {
  if (document.kind !== method.kind)
    throw new RubricateError("ERR_ADAPTER_FORMAT", `Expected an adapter of ${method.kind} in ${path}`);
  const file = parseMethodConfig(document, path);
  requireSizes(file, path, base.layerCount, base.architecture.hidden);
  return { origin: file, config: storedConfig(method, file.config, base, path), own: file };
}

function readPeftConfig(
  method: AnyMethod,
  peft: PeftMethod,
  document: JsonObject,
  path: string,
  { description }: LanguageModel,
  base: MethodBase,
): ReadConfig {
  const origin = peftOrigin(document, path);
  return { origin, config: configOf(method, peft.options(document, path, description), base) };
}

/** What a method is told about a model. @internal */
export const methodBase = ({ description }: LanguageModel) =>
  new MethodBase(description.architecture, description.tensors);

/**
 * The configuration of a call's options.
 * @throws RubricateError ERR_ARGUMENT, and what the method's `check` throws
 */
export function configOf(method: AnyMethod, options: object, base: MethodBase): object {
  const all = [...method.options, ...(method.otherOptions ?? [])];
  const names = Object.fromEntries(all.map((name) => [name, true])) as OptionNames<object>;
  const config: unknown = method.check(checkOptions(options, names, method.kind), base);
  const where = `the configuration that ${method.kind} checked`;
  if (!isObject(config)) throw invalid(where, "an object", config);
  requireJson(config, where, "ERR_ARGUMENT");
  return frozen(parseJson(JSON.stringify(config), `the configuration of ${method.kind}`, "ERR_ARGUMENT") as object);
}

function frozen<T>(value: T): T {
  if (typeof value === "object" && value !== null) Object.values(Object.freeze(value)).forEach(frozen);
  return value;
}

/** The configuration of a folder. It must be complete: no option is missing, none would be changed by checking it. */
function storedConfig(method: AnyMethod, stored: object, base: MethodBase, path: string): object {
  let config: object;
  try {
    config = configOf(method, stored, base);
  } catch (cause) {
    if (!(cause instanceof RubricateError)) throw cause;
    throw new RubricateError("ERR_ADAPTER_FORMAT", `${cause.message} (config in ${path})`, { cause });
  }
  for (const [name, value] of Object.entries(config)) {
    const given = (stored as Record<string, unknown>)[name];
    if (!isDeepStrictEqual(given, value))
      throw new RubricateError(
        "ERR_ADAPTER_FORMAT",
        `Expected ${formatJson(value)} for config.${name} in ${path} but received ${formatJson(given)}`,
      );
  }
  return config;
}

/** @throws RubricateError ERR_PLAN if the method's plan is wrong or does not fit the model */
function handleOf(model: LanguageModel, method: AnyMethod, plan: AdapterPlan, entries: PlanEntries): NativeAdapter {
  try {
    return newHandle(model, plan, entries);
  } catch (cause) {
    if (!(cause instanceof RubricateError) || !["ERR_ARGUMENT", "ERR_SHAPE", "ERR_JSON"].includes(cause.code))
      throw cause;
    throw new RubricateError("ERR_PLAN", `${cause.message} (the plan of method ${method.kind})`, { cause });
  }
}

/** All first values of the adapter, in the plan's order; undefined: all are the `start` of their parameters. */
function* startValues(
  method: AnyMethod,
  plan: AdapterPlan,
  config: object,
  seed: number,
  ofBase: ReadonlyMap<string, Float32Array>,
): Steps<Float32Array | undefined> {
  if (!method.start && ofBase.size === 0) return undefined;
  const places = new Map<string, Float32Array>();
  const values = new Float32Array(plan.parameters.reduce((sum, { shape }) => sum + elementCount(shape), 0));
  let begin = 0;
  for (const { name, shape, start } of plan.parameters) {
    const place = values.subarray(begin, begin + elementCount(shape)).fill(start);
    if (ofBase.has(name)) place.set(ofBase.get(name)!);
    places.set(name, place);
    begin += place.length;
  }
  const given: unknown = method.start ? method.start(plan, config, seed) : [];
  if (typeof (given as Iterable<unknown> | undefined)?.[Symbol.iterator] !== "function")
    throw invalid(`the start of method ${method.kind}`, "an iterable of names and values", given, "ERR_PLAN");
  for (const [name, own] of given as Iterable<readonly [string, Float32Array]>) {
    const place = places.get(name);
    if (!place) throw invalid(`the start values of ${method.kind}`, "names of the plan's parameters", name);
    if (own.length !== place.length)
      throw invalid(`the start values of ${name}`, `${place.length} numbers`, own, "ERR_SHAPE");
    place.set(own);
    const wrong = place.findIndex((value) => !Number.isFinite(value));
    if (wrong >= 0)
      throw invalid(`the start value ${name}[${wrong}]`, "a finite float32 number", own[wrong], "ERR_NOT_FINITE");
    yield;
  }
  return values;
}
