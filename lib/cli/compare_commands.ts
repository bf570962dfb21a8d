/** The command lines of a comparison's runs. */
import type { Commands } from "../compare/runs";
import { flagWords } from "./flag_words";
import type { FlagName, modelFlags, Values } from "./flags";
import { trainingFlagNames } from "./training_flags";

/**
 * Flags of `train` that a comparison sets itself, or that would end methods after different numbers of steps. It writes no
 * checkpoints: a run that was interrupted begins again, as its time and memory are measured.
 */
const own: ReadonlySet<FlagName> = new Set([
  "out",
  "resume",
  "overwrite",
  "method",
  "learningRate",
  "seed",
  "earlyStopping",
  "earlyStoppingMinDelta",
  "evalOnStart",
  "checkpointEveryMinutes",
  "checkpointEverySteps",
  "keepCheckpoints",
  "loggers",
]);

const ofRows = ["format", "strict"] as const satisfies readonly FlagName[];
/** They concern tokens, which scores of texts do not. */
const ofTokens = ["loss", "maxLength"] as const satisfies readonly FlagName[];
const ofScores = ["metrics", "maxNewTokens", "stop"] as const satisfies readonly FlagName[];
const training: readonly FlagName[] = trainingFlagNames.filter((name) => !own.has(name));

/** The flags that all runs share, and those of them that only trainings have. */
export const sharedFlags = { training, all: [...ofRows, ...ofTokens, ...ofScores, ...training] as readonly FlagName[] };

/** @param dev a path, or a share of the data */
export function commandsOf(values: Values, dev: string | number): Commands {
  const machine = flagWords(values, ["device", "dtype", "threads"] satisfies (typeof modelFlags)[number][]);
  const base = `--model=${values.model}`;
  const rows = flagWords(values, ofRows);
  const tokens = flagWords(values, ofTokens);
  const testFile = `--data=${values.test}`;
  const byLoss = [...tokens, ...flagWords(values, ["batchSize"])];
  const scores = values.metrics ? flagWords(values, ofScores) : byLoss;
  return {
    train: ({ method, rate, seed }, folder) => [
      "train",
      base,
      ...machine,
      `--data=${values.data}`,
      ...rows,
      ...tokens,
      `--eval=${dev}`,
      ...method.words,
      ...flagWords(values, training),
      `--learning-rate=${rate}`,
      `--seed=${seed}`,
      "--checkpoint-every-minutes=0",
      `--out=${folder}`,
    ],
    test(subject) {
      const models =
        subject === undefined
          ? [base]
          : subject.isModel
            ? [`--model=${subject.folder}`]
            : [base, `--adapter=${subject.folder}`];
      return ["eval", ...models, ...machine, testFile, ...rows, ...scores];
    },
    memory: values.metrics ? ["eval", base, ...machine, testFile, ...rows, ...byLoss] : undefined,
  };
}
