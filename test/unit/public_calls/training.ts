/** Data and training. */
import { join } from "node:path";
import * as api from "../../../lib/index";
import { drained, fileCodes, missing, noOptions, on, type PublicCall, type Subjects, withoutNull } from "./support";

const datasetOptions = (s: Subjects) => ({ tokenizer: s.tokenizer, maxLength: 16 });
const datasetTakes = {
  format: withoutNull,
  loss: withoutNull,
  vocabularySize: missing,
  strict: `${missing} true false`,
  signal: missing,
  onProgress: `${missing} function`,
};
const allDatasetOptions = (s: Subjects) => ({
  ...datasetOptions(s),
  format: "text",
  loss: "all",
  vocabularySize: 2 ** 24,
  strict: false,
  signal: new AbortController().signal,
  onProgress: () => {},
});
const closed = async (data: Promise<api.Dataset>) => (await data).dispose();

export const data: Record<string, PublicCall> = {
  "Dataset.fromJsonl": {
    args: (s) => [join(s.dir, "..", "rows.jsonl"), datasetOptions(s)],
    call: (_, args) => closed(api.Dataset.fromJsonl(...(args as never as [string, api.DatasetOptions]))),
    codes: fileCodes,
    runs: false,
  },
  "Dataset.fromFile": {
    args: (s) => [join(s.dir, "..", "rows.jsonl"), datasetOptions(s)],
    call: (_, args) => closed(api.Dataset.fromFile(...(args as never as [string, api.DatasetOptions]))),
    codes: fileCodes,
    runs: false,
  },
  "Dataset.fromRows": {
    args: (s) => [[{ text: "hello there" }], datasetOptions(s)],
    call: (_, args) => closed(api.Dataset.fromRows(...(args as never as [unknown[], api.DatasetOptions]))),
    options: allDatasetOptions,
    takes: datasetTakes,
    codes: ["ERR_DATA"],
  },
  "Dataset#examples": { args: () => [[0, 1]], call: on("data", "examples"), takes: { 0: "array" } },
  "Dataset#plan": {
    args: () => [{ batchSize: 2, shuffle: true, seed: 0, epoch: 0 }],
    call: on("data", "plan"),
    options: () => ({
      batchSize: 2,
      shuffle: true,
      seed: 0,
      epoch: 0,
      packing: { maxTokens: 100 },
      groupByLength: true,
    }),
    takes: {
      batchSize: "one",
      shuffle: "true false",
      seed: "zero one",
      epoch: "zero one",
      packing: missing,
      groupByLength: `${missing} true false`,
    },
  },
  "Dataset#inspect": { args: () => [0], call: on("data", "inspect"), takes: { 0: "zero one" } },
  "Dataset#split": { args: () => [0.5, 1], call: on("data", "split"), takes: { 0: "half", 1: "zero one" } },
};

const multiRun = (s: Subjects) => ({
  adapter: api.RedAdapter.create(s.model),
  train: s.examples,
  maxSteps: 1,
  batchSize: 2,
});
const trainer = (s: Subjects) => ({ model: s.model, ...multiRun(s) });
const counted = `${withoutNull} one`;
const atLeastZero = `${withoutNull} zero one half`;
const belowOne = `${withoutNull} zero half`;

const trainerTakes = {
  method: withoutNull,
  learningRate: atLeastZero,
  schedule: withoutNull,
  warmupSteps: `${withoutNull} zero one`,
  warmupRatio: `${withoutNull} zero one half`,
  epochs: counted,
  maxSteps: `${withoutNull} one`,
  batchSize: counted,
  gradientAccumulationSteps: counted,
  packing: "undefined true false",
  groupByLength: `${withoutNull} true false`,
  shuffle: `${withoutNull} true false`,
  weightDecay: atLeastZero,
  weightDecayTarget: withoutNull,
  beta1: belowOne,
  beta2: belowOne,
  epsilon: `${withoutNull} one half`,
  maxGradNorm: atLeastZero,
  seed: `${withoutNull} zero one`,
  eval: `${withoutNull} half`,
  outputDir: withoutNull,
  overwrite: `${withoutNull} true false`,
  maxLength: withoutNull,
  evalEverySteps: withoutNull,
  evalEveryEpoch: `${withoutNull} false`,
  evalOnStart: `${withoutNull} false`,
  keepBest: `${withoutNull} false`,
  checkpointEverySteps: withoutNull,
  checkpointEveryMinutes: `${withoutNull} zero`,
  loggers: `${withoutNull} array`,
  resume: `${withoutNull} false`,
  earlyStopping: withoutNull,
  keepCheckpoints: counted,
  recompute: `${withoutNull} true false`,
};

/** What is not the model. */
const { model: _, ...multiTakes } = trainerTakes as Record<string, string>;

/** `run` and `train` have the same arguments. */
const running: Omit<PublicCall, "call"> = {
  args: () => [{}],
  options: () => ({ signal: new AbortController().signal, resume: false }),
  takes: { 0: noOptions, signal: missing, resume: `${missing} false` },
  codes: ["ERR_CHECKPOINT"],
};

export const training: Record<string, PublicCall> = {
  "new Trainer": {
    args: (s) => [trainer(s)],
    call: (_, args) => drained(new api.Trainer(...(args as never as [api.TrainerOptions])).run()),
    takes: trainerTakes,
    // The ranges of numbers are tested elsewhere.
    skips: {
      outputDir: "text",
      resume: "text",
      learningRate: "huge",
      weightDecay: "huge",
      epsilon: "huge one half",
      maxGradNorm: "huge",
    },
    codes: ["ERR_DATA", "ERR_CONTEXT_LENGTH"],
    options: (s) => ({
      ...trainer(s),
      method: "red",
      eval: s.examples,
      outputDir: join(s.out, "run"),
      learningRate: 1e-3,
      schedule: "cosine",
      warmupSteps: 1,
      epochs: 1,
      gradientAccumulationSteps: 2,
      packing: { maxTokens: 64 },
      groupByLength: true,
      shuffle: false,
      weightDecay: 0.1,
      weightDecayTarget: "zero",
      beta1: 0.8,
      beta2: 0.9,
      epsilon: 1e-6,
      maxGradNorm: 2,
      seed: 1,
      maxLength: 64,
      evalEverySteps: 1,
      evalEveryEpoch: false,
      evalOnStart: true,
      earlyStopping: { patience: 1 },
      keepBest: false,
      checkpointEverySteps: 1,
      checkpointEveryMinutes: 1,
      keepCheckpoints: 1,
      recompute: "auto",
      loggers: ["jsonl", "tensorboard"],
      resume: "auto",
      overwrite: true,
    }),
  },
  "new Trainer of an example": {
    args: (s) => [s.examples[0]],
    call: (s, [example]) => drained(new api.Trainer({ ...trainer(s), train: [example!] }).run()),
  },
  "new Trainer of an example's line": {
    args: () => [1],
    call: (s, [line]) => drained(new api.Trainer({ ...trainer(s), train: [{ ...s.examples[0]!, line: line! }] }).run()),
    takes: { 0: "undefined zero one minus" },
  },
  "new MultiTrainer": {
    args: (s) => [{ model: s.model }],
    call: (_, args) => new api.MultiTrainer(...(args as never as [api.MultiTrainerOptions])),
    options: (s) => ({ model: s.model, maxRows: 64, maxTenants: 2 }),
    takes: { maxRows: counted, maxTenants: counted },
  },
  "MultiTrainer#add": {
    args: (s) => ["one", multiRun(s)],
    call: (s, args) => new api.MultiTrainer({ model: s.model }).add(...(args as never as [string, never])).done,
    takes: { 0: "text", ...multiTakes, weight: `${withoutNull} one half`, publish: missing, signal: missing },
    options: (s) => ({
      ...multiRun(s),
      weight: 2,
      publish: { engine: { adapters: { set: async () => {} } }, name: "one" },
      signal: new AbortController().signal,
    }),
    codes: ["ERR_DATA"],
  },
  "MultiTrainer#close": { args: () => [], call: (s) => new api.MultiTrainer({ model: s.model }).close() },
  "Trainer#run": {
    ...running,
    call: (s, args) => drained(new api.Trainer(trainer(s)).run(...(args as never as [api.RunOptions]))),
  },
  "Trainer#train": {
    ...running,
    call: (s, args) => new api.Trainer(trainer(s)).train(...(args as never as [api.RunOptions])),
  },
};
