/** `rubricate eval --metrics`: scores of predictions, given or generated, against the answers of the data. */
import { type AnsweredInputs, readAnswers, readTextLines } from "../data/answered_rows";
import { RubricateError } from "../errors";
import { replaceFile } from "../files/atomic";
import { scoreTexts } from "../metrics/score_texts";
import { ownPeakMib } from "../train/meter";
import { kebab } from "./arguments";
import { type Invocation, UsageError } from "./command";
import { generated, partialFile, requirePrompts } from "./eval_answers";
import type { FlagName, Values } from "./flags";
import { loadAdapter, loadModel } from "./load";
import { count, plural, table } from "./text";
import { requireOther, requireWritable } from "./writable";

/** Flags that only --metrics reads. */
const ofMetrics = ["predictions", "writePredictions", "maxNewTokens", "stop"] as const satisfies readonly FlagName[];
const ofModel = [
  "model",
  "adapter",
  "allowBaseMismatch",
  "device",
  "dtype",
  "threads",
] as const satisfies readonly FlagName[];
const ofGeneration = ["writePredictions", "maxNewTokens", "stop"] as const satisfies readonly FlagName[];
/** Flags that concern tokens of rows, which --metrics does not read. */
const ofLoss = ["loss", "maxLength", "batchSize"] as const satisfies readonly FlagName[];

function refuse(values: Values, names: readonly FlagName[], how: (flag: string) => string): void {
  const given = names.find((name) => values[name as keyof Values] !== undefined);
  if (given !== undefined) throw new UsageError(`Expected ${how(`--${kebab(given)}`)}`);
}

/** Checks that the flags go together. @throws UsageError */
export function checkScoreFlags(values: Values): void {
  if (!values.metrics) {
    refuse(values, ofMetrics, (flag) => `--metrics to go with ${flag}`);
    return;
  }
  refuse(values, ofLoss, (flag) => `${flag} without --metrics: it concerns the loss`);
  if (values.predictions === undefined) return;
  refuse(values, [...ofModel, ...ofGeneration], (flag) => `--predictions without ${flag}: no model is used`);
}

function reportSkipped({ terminal, values }: Invocation, { skipped, reasons }: AnsweredInputs): void {
  if (skipped === 0) return;
  terminal.note(`${values.data}: ${plural(skipped, "row")} skipped`);
  for (const { reason, lines } of reasons.slice(0, 5)) terminal.note(`  line ${lines[0]}: ${reason}`);
}

/** The answers of the model to the inputs of the data, and what it was asked. */
async function byModel(invocation: Invocation): Promise<{ answers: AnsweredInputs; predictions: string[] }> {
  const { values, terminal } = invocation;
  const model = await loadModel(invocation);
  try {
    const adapter = await loadAdapter(invocation, model);
    const asChat = model.requireTokenizer().chatTemplate !== undefined;
    const answers = readAnswers(values.data!, values.format ?? "auto", asChat, values.strict === true);
    await requirePrompts(invocation, model, answers.inputs);
    const predictions = await generated(invocation, model, adapter, answers.inputs);
    terminal.progress.clear();
    return { answers, predictions };
  } finally {
    model.dispose();
  }
}

/** The lines of --predictions, one for each input. @throws RubricateError ERR_ARGUMENT with both numbers */
function byFile({ values }: Invocation): { answers: AnsweredInputs; predictions: string[] } {
  const answers = readAnswers(values.data!, values.format ?? "auto", false, values.strict === true);
  const predictions = readTextLines(values.predictions!);
  if (predictions.length !== answers.inputs.length)
    throw new RubricateError(
      "ERR_ARGUMENT",
      `Expected ${plural(answers.inputs.length, "line")} in ${values.predictions}, one for each input of ${values.data}, ` +
        `but received ${count(predictions.length)}`,
    );
  return { answers, predictions };
}

/** Checks before the model is loaded where its answers will be written. @throws UsageError, RubricateError ERR_FILE */
async function requireTarget({ values }: Invocation, target: string): Promise<void> {
  const { data, config } = values;
  for (const file of [target, partialFile(target)]) {
    await requireOther(file, "--write-predictions", { "--data": data, "--config": config });
    await requireWritable(file);
  }
}

export async function evalScores(invocation: Invocation): Promise<void> {
  const { values, terminal, interrupts } = invocation;
  const target = values.writePredictions;
  if (target !== undefined) await requireTarget(invocation, target);
  const { answers, predictions } = values.predictions === undefined ? await byModel(invocation) : byFile(invocation);
  if (target !== undefined) await replaceFile(target, predictions.map((text) => `${text}\n`).join(""));
  reportSkipped(invocation, answers);
  const references = answers.inputs.map((one) => one.references);
  const scores = await scoreTexts({ predictions, references, signal: interrupts.signal });
  const numbers = { inputs: predictions.length, references: references.flat().length, skipped: answers.skipped };
  terminal.event({ ...scores, ...numbers, peakMemoryMib: await ownPeakMib() });
  const lines = [
    ["BLEU", scores.bleu.toFixed(4)],
    ["NIST", scores.nist.toFixed(4)],
    ["ROUGE-L", scores.rougeL.toFixed(4)],
    ["CIDEr", scores.cider.toFixed(4)],
    ["inputs", count(numbers.inputs)],
    ["references", count(numbers.references)],
  ];
  for (const line of table(lines)) terminal.print(line);
}
