/** Every flag of the command line, once: how its value is read, and what --help says about it. */
import { type RedSite, type RedVariant, redSites, redVariants } from "../adapter/config";
import { limits } from "../limits";
import { cudaIndex, type DeviceChoice } from "../model/device";
import { schedules } from "../train/schedule";

/** How a flag is written and read. */
export interface Flag<T> {
  /** What stands for the value in --help; undefined: the flag takes none. */
  readonly placeholder: string | undefined;
  /** What a value has to be, for "Expected ... for --flag but received ...". */
  readonly expects: string;
  /** @returns undefined where the text is no such value */
  readonly parse: (text: string) => T | undefined;
  readonly help: string;
  /** Shown in --help; the default itself is where the value is used. */
  readonly default?: string;
  /** The value of the flag alone. Another one can then be given with `=` only. */
  readonly alone?: T;
  /** Each time that the flag is given adds a value. */
  readonly multiple?: boolean;
  readonly short?: string;
}

function text(placeholder: string, help: string, fallback?: string): Flag<string> {
  const parse = (value: string) => (value === "" ? undefined : value);
  return { placeholder, expects: "a text that is not empty", parse, help, default: fallback };
}

function number(least: number, most: number, help: string, fallback?: string, open = false): Flag<number> {
  const range = most === Number.POSITIVE_INFINITY ? `of at least ${least}` : `from ${least} to ${most}`;
  return {
    placeholder: "X",
    expects: `a number ${open ? `between ${least} and ${most}` : range}`,
    parse(value) {
      const parsed = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(value) ? Number(value) : Number.NaN;
      const inside = open ? parsed > least && parsed < most : parsed >= least && parsed <= most;
      return Number.isFinite(parsed) && inside ? parsed : undefined;
    },
    help,
    default: fallback,
  };
}

function integer(least: number, help: string, fallback?: string, most = Number.MAX_SAFE_INTEGER): Flag<number> {
  const range = most === Number.MAX_SAFE_INTEGER ? `of at least ${least}` : `from ${least} to ${most}`;
  return {
    placeholder: "N",
    expects: `an integer ${range}`,
    parse(value) {
      const parsed = /^[+-]?\d+$/.test(value) ? Number(value) : Number.NaN;
      return parsed >= least && parsed <= most ? parsed : undefined;
    },
    help,
    default: fallback,
  };
}

function choice<const T extends string>(choices: readonly T[], help: string, fallback?: string): Flag<T> {
  return {
    placeholder: choices.join("|"),
    expects: `one of ${choices.join(", ")}`,
    parse: (value) => choices.find((one) => one === value),
    help,
    default: fallback,
  };
}

/** A flag that takes some of the values of another. */
function narrowed<T>(flag: Flag<T>, expects: string, holds: (value: T) => boolean): Flag<T> {
  const parse = (text: string) => {
    const value = flag.parse(text);
    return value !== undefined && holds(value) ? value : undefined;
  };
  return { ...flag, expects, parse };
}

/** A flag without a value. */
function option(help: string, short?: string): Flag<boolean> {
  return { placeholder: undefined, expects: "no value", parse: () => undefined, help, alone: true, short };
}

function choices<const T extends string>(
  known: readonly T[],
  placeholder: string,
  help: string,
  fallback: string,
): Flag<T[]> {
  return {
    placeholder,
    expects: `some of ${known.join(", ")}, each once, parted by commas`,
    parse(value) {
      const parts = value.split(",").map((part) => part.trim()) as T[];
      return parts.every((part, at) => known.includes(part) && parts.indexOf(part) === at) ? parts : undefined;
    },
    help,
    default: fallback,
  };
}

const mostLayers = 10_000;

/** "0-3,7": numbers and ranges, each layer once. */
function parseLayers(value: string): number[] | "all" | undefined {
  if (value === "all") return "all";
  const layers = new Set<number>();
  for (const part of value.split(",")) {
    const match = /^\s*(\d{1,5})(?:-(\d{1,5}))?\s*$/.exec(part);
    if (!match) return undefined;
    const first = Number(match[1]);
    const last = Number(match[2] ?? match[1]);
    if (last < first || last >= mostLayers) return undefined;
    for (let layer = first; layer <= last; layer++) {
      if (layers.has(layer)) return undefined;
      layers.add(layer);
    }
  }
  return [...layers].sort((a, b) => a - b);
}

function parseTokenIds(value: string): number[] | undefined {
  const parts = value.split(/[\s,]+/).filter((part) => part !== "");
  return parts.length > 0 && parts.every((part) => /^\d{1,9}$/.test(part)) ? parts.map(Number) : undefined;
}

const seedHelp = "the same seed gives the same result";

/** By name in camel case; on the command line it is --kebab-case. */
export const flags = {
  help: option("says how the command is used", "h"),
  json: option("writes JSON to stdout, see docs/cli.md"),

  model: text("DIR", 'a Hugging Face folder of a LLaMA, or "embedded" for the small model of the package'),
  adapter: text("DIR", "an adapter's folder"),
  allowBaseMismatch: option("takes an adapter of another base as long as its vectors fit"),
  device: {
    placeholder: "auto|cpu|cuda|cuda:N",
    expects: "one of auto, cpu, cuda, cuda:N",
    parse: (value) =>
      value === "auto" || value === "cpu" || cudaIndex(value) !== undefined ? (value as DeviceChoice) : undefined,
    help: "where to compute",
    default: "auto",
  } as Flag<DeviceChoice>,
  dtype: choice(["auto", "float32", "bfloat16"], "dtype of the computation", "auto, as stored"),
  threads: integer(1, "threads that compute", "one a core", 256),

  data: text("FILE", "JSONL with chats, prompts with completions, or texts, see docs/data-formats.md"),
  format: choice(["auto", "chat", "prompt", "text"], "shape of the rows", "auto, each row by its own fields"),
  loss: choice(["completion", "all"], "learns the answers alone, or all tokens", "completion"),
  maxLength: integer(2, "tokens of a row at most; longer rows lose their end", "the model's context"),
  rows: integer(1, "rows to show", "3"),

  out: text("DIR", "folder for what comes out"),
  eval: text("FILE|X", "JSONL to evaluate with, or the share of the data, between 0 and 1, to set aside for it"),
  resume: {
    placeholder: "auto|DIR",
    expects: "auto or a checkpoint's folder",
    parse: (value) => (value === "" ? undefined : value),
    help: "goes on from the newest checkpoint in --out; =auto: where there is one; =DIR: from that one",
    alone: true,
  } as Flag<boolean | string>,

  method: choice(["red", "full"], "trains a RED adapter, or all weights of the model", "red"),
  variant: choice<RedVariant>(
    redVariants,
    "vectors of a site: scale and bias, one of them, or with a layer norm",
    "all",
  ),
  sites: choices<RedSite>(redSites, "LIST", `whose output is edited: some of ${redSites.join(", ")}`, "ffn"),
  layers: {
    placeholder: "LIST",
    expects: 'layers from 0 such as 0-3,7, each once, or "all"',
    parse: parseLayers,
    help: "layers that are edited, such as 0-3,7",
    default: "all",
  } as Flag<number[] | "all">,

  epochs: integer(1, "passes over the data", "3"),
  maxSteps: integer(1, "optimizer steps, in place of --epochs"),
  learningRate: number(0, Number.POSITIVE_INFINITY, "the highest of the schedule", "1e-3"),
  schedule: choice(schedules, "how the learning rate falls", "linear"),
  warmupSteps: integer(0, "steps over which the learning rate rises"),
  warmupRatio: number(0, 1, "the same as a share of all steps", "0"),
  batchSize: integer(1, "sequences of a micro-batch", "8"),
  gradientAccumulationSteps: integer(1, "micro-batches of a step", "1"),
  packing: {
    placeholder: "TOKENS",
    expects: "a positive integer",
    parse: (value) => (/^[1-9]\d{0,8}$/.test(value) ? Number(value) : undefined),
    help: "fills micro-batches with whole sequences up to so many tokens; alone: the model's context",
    alone: true,
  } as Flag<boolean | number>,
  groupByLength: option("makes micro-batches of sequences of about the same length"),
  noShuffle: option("keeps the order of the data"),
  weightDecay: number(0, Number.POSITIVE_INFINITY, "decoupled weight decay", "0"),
  weightDecayTarget: choice(["identity", "zero"], "what it pulls scales to: 1, or 0 as in the reference", "identity"),
  beta1: number(0, 1, "of AdamW, below 1", "0.9"),
  beta2: number(0, 1, "of AdamW, below 1", "0.999"),
  epsilon: number(0, 1, "of AdamW, above 0", "1e-8"),
  maxGradNorm: number(0, Number.POSITIVE_INFINITY, "the gradient is scaled down to this norm; 0: never", "1"),
  seed: integer(0, seedHelp, "42 to train, 0 to generate"),
  evalEverySteps: integer(1, "evaluates every so many steps"),
  noEvalEveryEpoch: option("does not evaluate at the end of each epoch"),
  earlyStopping: integer(1, "stops after so many evaluations in a row without gain"),
  earlyStoppingMinDelta: number(0, Number.POSITIVE_INFINITY, "what counts as a gain", "0"),
  noKeepBest: option("keeps the last parameters, not those of the lowest evaluation loss"),
  checkpointEverySteps: integer(1, "writes a checkpoint every so many steps"),
  keepCheckpoints: integer(1, "checkpoints that stay", "2"),
  recompute: {
    placeholder: "auto",
    expects: '"auto", or nothing',
    parse: (value) => (value === "auto" ? value : undefined),
    help: "runs blocks again in the backward: less memory, more time; auto: where memory is short",
    alone: true,
  } as Flag<boolean | "auto">,
  loggers: choices(["jsonl", "tensorboard"] as const, "LIST", "logs in --out: some of jsonl,tensorboard", "jsonl"),

  prompt: text("TEXT", "what to continue; without it, stdin is read"),
  chat: option("takes the prompt as a user's message, written by the chat template"),
  system: text("TEXT", "the system message of a chat"),
  tokenIds: {
    placeholder: "LIST",
    expects: "token ids parted by commas",
    parse: parseTokenIds,
    help: "token ids to continue, in place of a text",
  } as Flag<number[]>,
  maxNewTokens: integer(1, "tokens to write at most", "256", limits.maxNewTokens),
  temperature: narrowed(
    number(0, limits.mostTemperature, "0: always the likeliest token", "0"),
    `0, or a number from ${limits.leastTemperature} to ${limits.mostTemperature}`,
    (value) => value === 0 || value >= limits.leastTemperature,
  ),
  topK: integer(0, "samples among so many tokens; 0: all", "0", limits.topK),
  topP: narrowed(
    number(0, 1, "samples among the fewest tokens of together this probability, above 0", "1"),
    "a number above 0 and up to 1",
    (value) => Math.fround(value) > 0,
  ),
  minP: number(0, 1, "samples among tokens of this share of the likeliest one's probability", "0"),
  repetitionPenalty: number(
    limits.leastRepetitionPenalty,
    limits.mostRepetitionPenalty,
    "above 1: tokens that occurred become less likely",
    "1",
  ),
  stop: {
    ...narrowed(
      text("TEXT", "ends the text before this; may be given several times"),
      `a text of 1 to ${limits.stopStringLength} characters`,
      (value) => value.length <= limits.stopStringLength,
    ),
    multiple: true,
  } as Flag<string>,
} satisfies Record<string, Flag<unknown>>;

export type FlagName = keyof typeof flags;

type ValueOf<F> = F extends Flag<infer T> ? T : never;

/** Values of the flags that were given. */
export type Values = {
  [K in Exclude<FlagName, "stop">]?: ValueOf<(typeof flags)[K]>;
} & { stop?: string[] };

/** Flags of all commands that load a model. */
export const modelFlags = ["model", "device", "dtype", "threads"] as const satisfies readonly FlagName[];

/** Flags of all commands that generate text. */
export const samplingFlags = [
  "maxNewTokens",
  "temperature",
  "topK",
  "topP",
  "minP",
  "repetitionPenalty",
  "stop",
  "seed",
] as const satisfies readonly FlagName[];

/** Flags of all commands that read data. */
export const dataFlags = ["data", "format", "loss", "maxLength"] as const satisfies readonly FlagName[];
