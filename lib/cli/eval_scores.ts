/** `rubricate eval --metrics`: scores of predictions, given or generated, against the answers of the data. */
import { type AnsweredInput, type AnsweredInputs, readAnswers, readTextLines } from "../data/answered_rows";
import { RubricateError } from "../errors";
import { replaceFile } from "../files/atomic";
import { scoreTexts } from "../metrics/score_texts";
import type { LanguageModel } from "../model/model";
import { kebab } from "./arguments";
import { type Invocation, UsageError } from "./command";
import type { FlagName, Values } from "./flags";
import { loadAdapter, loadModel } from "./load";
import { count, plural, table } from "./text";
import { requireFolderOf } from "./writable";

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

/** Requests at a time: the engine computes them together. */
const together = 64;

/** Answers to all inputs, each in one line. */
async function generated(
  { values, terminal, interrupts }: Invocation,
  model: LanguageModel,
  adapter: Awaited<ReturnType<typeof loadAdapter>>,
  inputs: readonly AnsweredInput[],
): Promise<string[]> {
  const { maxNewTokens, stop } = values;
  const failure = new AbortController();
  const signal = AbortSignal.any([interrupts.signal, failure.signal]);
  const texts: string[] = [];
  let next = 0;
  let done = 0;
  const work = async () => {
    while (next < inputs.length) {
      const at = next++;
      const { input, line } = inputs[at]!;
      try {
        const { text } = await model.complete({ ...input, adapter, maxNewTokens, stop, signal });
        texts[at] = text.replace(/\s+/gu, " ").trim();
      } catch (error) {
        if (failure.signal.aborted || interrupts.signal.aborted || !(error instanceof RubricateError)) throw error;
        throw new RubricateError(error.code, `${values.data}: line ${line}: ${error.message}`, { cause: error });
      }
      terminal.progress.show(++done / inputs.length, `generated ${count(done)} of ${plural(inputs.length, "text")}`);
    }
  };
  let first: unknown;
  const noting = async () => {
    try {
      await work();
    } catch (error) {
      first ??= error;
      failure.abort();
    }
  };
  await Promise.all(Array.from({ length: together }, noting));
  if (first !== undefined) throw first;
  return texts;
}

/** The answers of the model to the inputs of the data, and what it was asked. */
async function byModel(invocation: Invocation): Promise<{ answers: AnsweredInputs; predictions: string[] }> {
  const { values, terminal } = invocation;
  const model = await loadModel(invocation);
  try {
    const adapter = await loadAdapter(invocation, model);
    const asChat = model.requireTokenizer().chatTemplate !== undefined;
    const answers = readAnswers(values.data!, values.format ?? "auto", asChat, values.strict === true);
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

export async function evalScores(invocation: Invocation): Promise<void> {
  const { values, terminal } = invocation;
  const target = values.writePredictions;
  if (target !== undefined) await requireFolderOf(target);
  const { answers, predictions } = values.predictions === undefined ? await byModel(invocation) : byFile(invocation);
  if (target !== undefined) await replaceFile(target, predictions.map((text) => `${text}\n`).join(""));
  reportSkipped(invocation, answers);
  const references = answers.inputs.map((one) => one.references);
  const scores = scoreTexts({ predictions, references });
  const numbers = { inputs: predictions.length, references: references.flat().length, skipped: answers.skipped };
  terminal.event({ ...scores, ...numbers });
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
