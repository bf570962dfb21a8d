/** The answers of a model to the inputs of a data file. */
import type { AnsweredInput } from "../data/answered_rows";
import { RubricateError } from "../errors";
import { replaceFile } from "../files/atomic";
import { promptIds } from "../generate/prompt_ids";
import { readPrompt } from "../generate/prompt_input";
import { Work } from "../generate/served";
import type { LanguageModel } from "../model/model";
import type { Invocation } from "./command";
import type { loadAdapter } from "./load";
import { count, plural } from "./text";

/** Requests at a time: the engine computes them together. */
const together = 64;

/** Where the answers are kept of a generation that did not end: a JSON line for each. */
export const partialFile = (file: string) => `${file}.partial`;

/**
 * Checks that each prompt leaves room for a token, before any is answered.
 * @throws RubricateError of the first that does not, with its line and the number of them; ERR_ABORTED
 */
export async function requirePrompts(
  { values, terminal, interrupts }: Invocation,
  model: LanguageModel,
  inputs: readonly AnsweredInput[],
): Promise<void> {
  const { signal } = interrupts;
  let first: { error: RubricateError; line: number } | undefined;
  let refused = 0;
  for (const [at, { input, line }] of inputs.entries()) {
    try {
      await promptIds(model, readPrompt(input, model), signal, new Work());
    } catch (error) {
      if (signal.aborted || !(error instanceof RubricateError)) throw error;
      first ??= { error, line };
      refused++;
    }
    terminal.progress.show((at + 1) / inputs.length, `checked ${count(at + 1)} of ${plural(inputs.length, "prompt")}`);
  }
  terminal.progress.restart();
  if (first === undefined) return;
  const { error, line } = first;
  const number = `${count(refused)} of ${plural(inputs.length, "prompt")} cannot be answered, so nothing was generated`;
  throw new RubricateError(error.code, `${values.data}: line ${line}: ${error.message} (${number})`, { cause: error });
}

/** Answers to all inputs, each in one line. @throws RubricateError; what was answered until then is kept */
export async function generated(
  invocation: Invocation,
  model: LanguageModel,
  adapter: Awaited<ReturnType<typeof loadAdapter>>,
  inputs: readonly AnsweredInput[],
): Promise<string[]> {
  const { values, terminal, interrupts } = invocation;
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
  if (first === undefined) return texts;
  const kept = await keepPartial(invocation, inputs, texts);
  if (kept === undefined) throw first;
  if (interrupts.signal.aborted || !(first instanceof RubricateError)) {
    terminal.progress.clear();
    if (!interrupts.isQuiet) terminal.note(kept);
    throw first;
  }
  throw new RubricateError(first.code, `${first.message} (${kept})`, { cause: first });
}

/** Writes the answers that there are. @returns where; undefined: none are to be written */
async function keepPartial(
  { values }: Invocation,
  inputs: readonly AnsweredInput[],
  texts: readonly (string | undefined)[],
): Promise<string | undefined> {
  if (values.writePredictions === undefined) return undefined;
  const lines = inputs.flatMap(({ line }, at) =>
    texts[at] === undefined ? [] : [`${JSON.stringify({ line, prediction: texts[at] })}\n`],
  );
  if (lines.length === 0) return undefined;
  const file = partialFile(values.writePredictions);
  try {
    await replaceFile(file, lines.join(""));
  } catch (error) {
    return `the ${plural(lines.length, "answer")} generated before it could not be kept: ${(error as Error).message}`;
  }
  return `${plural(lines.length, "answer")} of ${count(inputs.length)} generated before it: ${file}`;
}
