/** All flags of the command line: how each value is parsed, and its text in --help. */
import { type RedSite, type RedVariant, redSites, redVariants } from "../adapter/config";
import { type Ia3Module, ia3Modules } from "../adapter/ia3_config";
import { isModuleChoice, type LoraModule, loraModules } from "../adapter/lora_config";
import { aboveZero, activationKind, belowOne } from "../adapter/method_options";
import { type NormSite, normSites } from "../adapter/norm_sites";
import { dataFormats } from "../data/rows";
import { limits } from "../limits";
import { cudaIndex, type DeviceChoice } from "../model/device";
import {
  choice,
  integer,
  list,
  narrowed,
  number,
  numberIn,
  positiveFloat32,
  temperatures,
  text,
} from "../option_kinds";
import { type Flag, flag, parsed, toggle } from "./flag";
import { trainingFlags } from "./training_flags";

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

function parseModules(value: string): LoraModule[] | "all-linear" | undefined {
  const choice = value === "all-linear" ? value : value.split(",").map((name) => name.trim());
  return isModuleChoice(choice) ? (choice as LoraModule[] | "all-linear") : undefined;
}

function parseTokenIds(value: string): number[] | undefined {
  const parts = value.split(/[\s,]+/).filter((part) => part !== "");
  return parts.length > 0 && parts.every((part) => /^\d{1,9}$/.test(part)) ? parts.map(Number) : undefined;
}

/** "13=-100,8=0.5": token ids and what is added to their logits, each id once. */
function parseLogitBias(value: string): Map<number, number> | undefined {
  const biases = new Map<number, number>();
  for (const part of value.split(",")) {
    const [, id, bias] = /^\s*(\d{1,9})\s*=(.*)$/.exec(part) ?? [];
    const added = bias === undefined ? undefined : numberIn(bias.trim());
    if (added === undefined || Math.abs(added) > limits.mostLogitBias || biases.has(Number(id))) return undefined;
    biases.set(Number(id), added);
  }
  return biases;
}

/** "0.01,0.1": positive numbers, each once. @returns ascending */
function parseRates(value: string): number[] | "auto" | undefined {
  if (value === "auto") return "auto";
  const rates = value.split(",").map((part) => numberIn(part.trim()));
  if (rates.some((rate) => rate === undefined || positiveFloat32.fault(rate) !== undefined)) return undefined;
  return new Set(rates).size === rates.length ? (rates as number[]).sort((a, b) => a - b) : undefined;
}

/** By name in camel case; the command line uses --kebab-case. */
export const flags = {
  ...trainingFlags,

  help: toggle("prints the usage of the command", "h"),
  json: toggle("writes JSON to stdout, see docs/cli.md"),

  model: flag(
    text("DIR"),
    'a Hugging Face model folder of a known family (docs/families.md), or "embedded" for the small model of the package',
  ),
  adapter: flag(text("DIR"), "an adapter's folder"),
  verify: toggle("compares the logits of base and adapter with those of the merged model"),
  from: flag(text("FILE"), "delta_vector.pth of RED's reference implementation"),
  allowBaseMismatch: toggle("accepts an adapter of another base if its vectors fit"),
  device: flag(
    parsed("auto|cpu|cuda|cuda:N", "one of auto, cpu, cuda, cuda:N", (value) =>
      value === "auto" || value === "cpu" || cudaIndex(value) !== undefined ? (value as DeviceChoice) : undefined,
    ),
    "device to compute on",
    "auto",
  ),
  dtype: flag(choice(["auto", "float32", "bfloat16"]), "dtype of the computation", "auto, as stored"),
  threads: flag(integer(1, 256), "number of threads for computation", "one per core"),

  config: flag(
    text("FILE"),
    "a JSON or YAML file with further flags, or options of Trainer; what the command line says counts",
  ),
  data: flag(
    text("FILE"),
    "JSONL, a JSON array or CSV, with chats, prompts with completions, or texts, see docs/data-formats.md",
  ),
  format: flag(choice(dataFormats), "format of the rows", "auto, by each row's fields"),
  loss: flag(choice(["completion", "all"]), "tokens to learn: only the answers, or all", "completion"),
  maxLength: flag(integer(2), "maximum tokens of a row; longer rows are truncated at their end", "the model's context"),
  strict: toggle("stops at the first row that cannot be used, instead of skipping it"),
  rows: flag(integer(1), "rows to show", "3"),
  eval: flag(text("FILE|X"), "a file to evaluate with, or the share of the data, between 0 and 1, to split off for it"),

  variant: flag(
    choice<RedVariant>(redVariants),
    "vectors of a site: scale and bias, one of them, or with a layer norm",
    "all",
  ),
  sites: flag(
    list<RedSite>(redSites),
    `projections that are edited, comma-separated: some of ${redSites.join(", ")}`,
    "ffn for RED, the others: docs/methods.md",
  ),
  layers: flag(
    parsed("LIST", 'layers from 0 such as 0-3,7, each once, or "all"', parseLayers),
    "layers to edit, such as 0-3,7",
    "all",
  ),

  rank: flag(
    integer(1, limits.mostLoraRank),
    "rows of the update's matrix A, and columns of B",
    "8 for LoRA, the others: docs/methods.md",
  ),
  tensorRank: flag(integer(1, limits.mostLoraRank), "rank of the tensor trains of loretta_rep and loretta_adp", "8"),
  alpha: flag(
    aboveZero,
    "the update is multiplied by alpha / rank; for spt: how few marks give a matrix a low-rank update",
    "8 for LoRA, the others: docs/methods.md",
  ),
  targetModules: flag(
    parsed("LIST", `"all-linear" or some of ${loraModules.join(", ")}, each once`, parseModules),
    `linear layers that LoRA updates or (IA)3 scales, comma-separated, or all-linear: some of ${loraModules.join(", ")}`,
    "q_proj,v_proj for LoRA, k_proj,v_proj,down_proj for (IA)3",
  ),
  feedforwardModules: flag(
    list<Ia3Module>(ia3Modules),
    "those of --target-modules whose input (IA)3 scales, not the output, comma-separated",
    "down_proj, if it is one of them",
  ),
  targetNorms: flag(
    list<NormSite>(normSites),
    `norms that LN tuning trains, comma-separated: some of ${normSites.join(", ")}`,
    "all",
  ),
  groups: flag(integer(1, limits.mostLoraRank), "slices of input and output with an update each, for melora", "8"),
  sharing: flag(
    choice(["site", "all"]),
    "which linear layers share matrices, for gift: those of one site, or all",
    "site",
  ),
  target: flag(
    choice(["biases", "weights"]),
    "what has an adapter in hiwi: the base's biases, or its weights",
    "biases, if the base has them at all sites",
  ),
  on: flag(
    choice(["lora", "bottleneck"]),
    "what sibo mixes the embedding's output into: the input of LoRA, or of a bottleneck",
    "lora",
  ),
  lambda: flag(number(0, 1), "share of the embedding's output in that input, above 0 and below 1", "0.1"),
  blocks: flag(integer(1, limits.mostLoraRank), "blocks with a reflection each, for ether and ether+", "1"),
  share: flag(
    narrowed(number(0, 1), "a number above 0, at most 1", (value) => value > 0),
    "share of each matrix's entries, those of smallest magnitude, that pafi or sara trains",
    "0.005 for pafi",
  ),
  threshold: flag(aboveZero, "magnitude below which sara trains a matrix's entries, without --share", "0.0001"),
  budget: flag(integer(1), "how many weights spt marks, those that the training data is most sensitive to"),
  beta: flag(aboveZero, "spt trains a vector as a whole if at least its length / beta of its numbers are marked", "5"),
  reselectAt: flag(
    belowOne,
    "share of a run's steps after which sara freezes entries that have grown to the threshold; 0: never",
    "0.5",
  ),
  rankLoss: flag(
    number(0, limits.maxPositive),
    "factor of sara's rank loss: the nuclear norm of the trained entries of one random matrix a step; costly",
    "0",
  ),
  size: flag(integer(1, limits.mostLoraRank), "width of a bottleneck", "16, 64 for loretta_adp"),
  activation: flag(
    activationKind,
    "activation of a bottleneck, of hiwi or gift",
    "gelu, tanh for loretta_adp, relu for hiwi, none for gift",
  ),
  place: flag(
    choice(["ffn", "attention+ffn"]),
    "where bottlenecks are: after the feed-forward, or the attention too",
    "ffn",
  ),
  rankStabilized: toggle("multiplies LoRA's update by alpha / sqrt(rank) instead"),

  methods: flag(
    text("LIST"),
    "methods to compare, comma-separated, each with its options behind colons: red,lora:rank=4:alpha=8,full; differences are from the first",
  ),
  test: flag(text("FILE"), "a file that each run is scored on once, at the end"),
  dev: flag(
    text("FILE|X"),
    "what learning rates are judged on: a file, or the share of the data, between 0 and 1, to split off for it",
    "0.1",
  ),
  seeds: flag(integer(1, limits.comparedSeeds), "runs of each method, with the seeds 0, 1, ...", "3"),
  learningRates: flag(
    parsed("auto|LIST", "auto or positive numbers, comma-separated, each once", parseRates),
    "learning rates that each method tries with seed 0, comma-separated; auto: 0.3, 1 and 3 times its default",
    "auto",
  ),

  metrics: toggle("reports BLEU, NIST, ROUGE-L and CIDEr of the answers instead of the loss"),
  predictions: flag(text("FILE"), "with --metrics, answers to score: a line for each input, in the inputs' order"),
  writePredictions: flag(text("FILE"), "with --metrics, writes the generated answers there, a line each"),

  filter: flag(text("TEXT"), "only cases whose name contains this text"),
  quick: toggle("two runs of each case: shows that everything works, its figures mean little"),
  compare: flag(text("FILE"), "results that --out wrote, to compare with"),

  prompt: flag(text("TEXT"), "what to continue; without it, stdin is read"),
  chat: toggle("formats the prompt as a user's message with the chat template"),
  system: flag(text("TEXT"), "the system message of a chat"),
  tokenIds: flag(
    parsed("LIST", "comma-separated token ids", parseTokenIds),
    "token ids to continue, instead of a text",
  ),
  maxNewTokens: flag(integer(1, limits.maxNewTokens), "maximum number of new tokens", "256"),
  temperature: flag(
    narrowed(
      number(0, limits.mostTemperature),
      temperatures,
      (value) => value === 0 || value >= limits.leastTemperature,
    ),
    "sampling temperature; 0: always the most likely token",
    "0",
  ),
  topK: flag(integer(0, limits.topK), "samples among this many most likely tokens; 0: all", "0"),
  topP: flag(
    narrowed(number(0, 1), "a number above 0 and up to 1", (value) => Math.fround(value) > 0),
    "samples among the fewest tokens whose total probability reaches this, above 0",
    "1",
  ),
  minP: flag(number(0, 1), "samples among tokens with at least this share of the most likely one's probability", "0"),
  repetitionPenalty: flag(
    number(limits.leastRepetitionPenalty, limits.mostRepetitionPenalty),
    "above 1: tokens that have occurred become less likely",
    "1",
  ),
  frequencyPenalty: flag(
    number(-limits.mostPenalty, limits.mostPenalty),
    "subtracted from a token's logit for each time that it was generated",
    "0",
  ),
  presencePenalty: flag(
    number(-limits.mostPenalty, limits.mostPenalty),
    "subtracted from a token's logit if it was generated",
    "0",
  ),
  logitBias: flag(
    parsed("LIST", "token ids, each once, with numbers from -100 to 100, such as 13=-100,8=0.5", parseLogitBias),
    "added to the logits of token ids, such as 13=-100,8=0.5",
  ),
  logProbabilities: toggle("gives the log-probability of each token, with --json"),
  topLogProbabilities: flag(
    integer(0, limits.topLogProbabilities),
    "gives so many of the most likely tokens with each, with --log-probabilities",
    "0",
  ),
  showSpecialTokens: toggle("writes special tokens out, such as those of a chat template"),
  stop: {
    ...flag(
      narrowed(
        text("TEXT"),
        `a text of 1 to ${limits.stopStringLength} characters`,
        (value) => value.length <= limits.stopStringLength,
      ),
      "ends the text before this string; may be repeated",
    ),
    multiple: true,
  },
} satisfies Record<string, Flag<unknown>>;

export type FlagName = keyof typeof flags;

type ValueOf<F> = F extends Flag<infer T> ? T : never;

/** Values of the given flags. */
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
  "frequencyPenalty",
  "presencePenalty",
  "logitBias",
  "stop",
  "seed",
] as const satisfies readonly FlagName[];

/** Flags of all commands that read data. */
export const dataFlags = ["data", "format", "loss", "maxLength", "strict"] as const satisfies readonly FlagName[];
