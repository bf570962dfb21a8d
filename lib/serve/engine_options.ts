/** The options of an Engine and of its calls, and their checks. */
import type { Adapter } from "../adapter/adapter";
import { requireModel } from "../brands";
import { invalid } from "../errors";
import {
  defaultCacheBytes,
  deviceVersionBytes,
  engineDefaults,
  mostCacheBytes,
  pageBytes,
} from "../generate/engine_size";
import { checkedCall, type GenerateOptions, generateOptionNames } from "../generate/options";
import { checkedScore, type ScoreCall, type ScoreOptions, scoreOptionNames } from "../generate/scoring";
import { limits } from "../limits";
import type { LanguageModel } from "../model/model";
import type { NativeEngineOptions } from "../native";
import { integer, type Kind, number, positiveFloat32 } from "../option_kinds";
import { booleanOf, checkOptions, functionOf, isMissing, type OptionNames } from "../options";

export interface EngineOptions {
  /** A model has at most one Engine, until that is closed. */
  readonly model: LanguageModel;
  /**
   * Bytes for the keys and values of all requests together; at least a page of 64 positions. Default: eight full contexts,
   * at most a quarter of the free memory (on a CUDA device 60 %), at least one context.
   */
  readonly cacheBytes?: number;
  /** Requests that share steps, 1 to 65,536. Default: 256. */
  readonly maxSequences?: number;
  /** Requests that wait beyond those, 0 to 2^24; one more is ERR_QUEUE_FULL. Default: 1024. */
  readonly maxQueue?: number;
  /** Milliseconds that a step with tokens of prompts should take, 1 to 60,000: a smaller number lets streams run more evenly. Default: 50. */
  readonly stepMs?: number;
  /** Share of the model's time for training while requests want it too; above 0 and below 1. Default: 0.2. */
  readonly trainingShare?: number;
  /**
   * Whether a prompt that begins as an earlier one of the same tenant and the same version of an adapter takes over its keys
   * and values. It changes no answer. Default: true.
   */
  readonly prefixCache?: boolean;
  /** Bytes of the adapters' versions in memory. Default: 2^30. */
  readonly maxAdapterBytes?: number;
  /** Versions of an adapter that are kept, with the current one, 1 to 1,000. Default: 3. */
  readonly keepVersions?: number;
  /**
   * Loads an adapter that a request names and that is not in memory. Requests that wait for one name share one load; the
   * signal fires when none of them waits any more. undefined: there is no such adapter. Without this function only adapters
   * that were set are known.
   */
  readonly loadAdapter?: (name: string, signal: AbortSignal) => Adapter | undefined | Promise<Adapter | undefined>;
}

const engineOptionNames: OptionNames<EngineOptions> = {
  model: true,
  cacheBytes: true,
  maxSequences: true,
  maxQueue: true,
  stepMs: true,
  trainingShare: true,
  prefixCache: true,
  maxAdapterBytes: true,
  keepVersions: true,
  loadAdapter: true,
};

/** Who asks, and which adapter answers. */
export interface EngineCallOptions {
  /**
   * The name of an adapter of `engine.adapters`, also with a version ("support@6"), or an adapter object of the model. Default: the
   * model alone.
   */
  readonly adapter?: string | Adapter | null;
  /** Tenants share the engine by weight, however many requests each has. Default: one tenant for all that name none. */
  readonly tenant?: string;
  /** Of the tenant's share; a positive number. Default: 1. */
  readonly weight?: number;
  /** Milliseconds from the call until the request ends with ERR_DEADLINE. Default: none. */
  readonly deadlineMs?: number;
}

/** As for `LanguageModel.generate`; in addition, who asks and which adapter answers. */
export interface EngineGenerateOptions extends Omit<GenerateOptions, "adapter">, EngineCallOptions {}

/** As for `LanguageModel.score`; in addition, who asks and which adapter scores. */
export interface EngineScoreOptions extends Omit<ScoreOptions, "adapter">, EngineCallOptions {}

const callNames: OptionNames<EngineCallOptions> = { adapter: true, tenant: true, weight: true, deadlineMs: true };
const generateNames: OptionNames<EngineGenerateOptions> = { ...generateOptionNames, ...callNames };
const scoreNames: OptionNames<EngineScoreOptions> = { ...scoreOptionNames, ...callNames };

function checked<T>(name: string, kind: Kind<T>, value: T | null | undefined, fallback: T): T {
  const chosen = value ?? fallback;
  const fault = kind.fault(chosen);
  if (fault !== undefined) throw invalid(name, fault, value);
  return chosen;
}

const share: Kind<number> = {
  ...number(0, 1),
  fault: (value) => (typeof value === "number" && value > 0 && value < 1 ? undefined : "a number above 0 and below 1"),
};

/** A name of an adapter or a tenant. @throws RubricateError ERR_ARGUMENT */
export function nameOf(name: string, value: string): string {
  const most = limits.servedName;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: refuses control characters
  if (typeof value !== "string" || value === "" || value.length > most || /[@\u0000-\u001f\u007f]/.test(value))
    throw invalid(name, `a name of 1 to ${most} characters, without "@" and control characters,`, value);
  return value;
}

/** @throws RubricateError ERR_ARGUMENT, ERR_DISPOSED */
export function engineSettings(given: EngineOptions) {
  const options = checkOptions(given, engineOptionNames, "Engine");
  const { model } = options;
  requireModel(model);
  const page = pageBytes(model);
  const atLeast = `an integer from ${page} (one page of this model) to 2^46`;
  const bytes = integer(0, limits.engineBytes);
  const size = integer(page, limits.engineBytes, atLeast);
  const cacheBytes = checked("cacheBytes", size, options.cacheBytes, defaultCacheBytes(model));
  const native: NativeEngineOptions = {
    cacheBytes: Math.min(cacheBytes, mostCacheBytes(model)),
    maxSequences: checked(
      "maxSequences",
      integer(1, limits.maxSequences),
      options.maxSequences,
      engineDefaults.maxSequences,
    ),
    maxQueue: checked("maxQueue", integer(0, limits.maxQueue), options.maxQueue, engineDefaults.maxQueue),
    stepMs: checked("stepMs", number(1, limits.stepMs), options.stepMs, engineDefaults.stepMs),
    trainingShare: checked("trainingShare", share, options.trainingShare, engineDefaults.trainingShare),
    sharePrefixes: booleanOf("prefixCache", options.prefixCache, engineDefaults.prefixCache),
    maxDeviceVersionBytes: deviceVersionBytes,
  };
  return {
    model,
    native,
    maxAdapterBytes: checked("maxAdapterBytes", bytes, options.maxAdapterBytes, 2 ** 30),
    keepVersions: checked("keepVersions", integer(1, limits.keepVersions), options.keepVersions, 3),
    loadAdapter: functionOf("loadAdapter", options.loadAdapter),
  };
}

/** What the options of a call say of who asks. @throws RubricateError ERR_ARGUMENT */
function asking({ adapter, tenant, weight, deadlineMs }: EngineCallOptions) {
  return {
    adapter,
    tenant: isMissing(tenant) ? undefined : nameOf("tenant", tenant),
    weight: checked("weight", positiveFloat32, weight, 1),
    deadlineMs: isMissing(deadlineMs) ? 0 : checked("deadlineMs", number(1, limits.deadlineMs), deadlineMs, 0),
  };
}

export type Asking = ReturnType<typeof asking>;

/**
 * @param what the method, for messages
 * @throws RubricateError ERR_ARGUMENT
 */
export function generateSettings(given: EngineGenerateOptions, what: string, model: LanguageModel) {
  const options = checkOptions(given, generateNames, what);
  return { asking: asking(options), call: checkedCall(options, model) };
}

/** @throws RubricateError ERR_ARGUMENT */
export function scoreSettings(given: EngineScoreOptions, model: LanguageModel): { asking: Asking; call: ScoreCall } {
  const options = checkOptions(given, scoreNames, "score");
  return { call: checkedScore(options, model), asking: asking(options) };
}
