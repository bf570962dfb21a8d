import { invalid } from "../errors";
import { throwIfAborted } from "../job";
import { checkOptions, listOf, signalOf } from "../options";
import { inSlices, type Steps } from "../steps";
import { bleu } from "./bleu";
import { cider } from "./cider";
import { mtevalTokens } from "./mteval_tokens";
import type { Tokenized } from "./ngrams";
import { nist } from "./nist";
import { ptbTokens } from "./ptb_tokens";
import { rougeL } from "./rouge_l";

/** What to compare. */
export interface ScoreTextsOptions {
  /** One text for each input, as the model wrote it: not tokenized. It may be empty. */
  predictions: readonly string[];
  /** For each input the texts that its prediction is compared with: one or more, and as many as there are. */
  references: readonly (readonly string[])[];
  /** Stops the work: the promise rejects with ERR_ABORTED. */
  signal?: AbortSignal;
}

/** Scores of generated texts against references; higher is better. */
export interface TextScores {
  /** BLEU with n-grams up to 4, of the whole corpus: 0 to 1. */
  bleu: number;
  /** NIST with n-grams up to 5, of the whole corpus: from 0, in bits. */
  nist: number;
  /** ROUGE-L, the mean over predictions: 0 to 1. */
  rougeL: number;
  /** CIDEr-D, the mean over predictions: 0 to 10. With one input it is 0. */
  cider: number;
}

function stringsOf(name: string, value: readonly string[]): string[] {
  const texts = listOf(name, "a list of strings", value);
  texts.forEach((text, at) => {
    if (typeof text !== "string") throw invalid(`${name}[${at}]`, "a string", text);
  });
  return texts;
}

/**
 * Scores predictions against references as the E2E challenge does (`e2e-metrics`, whose BLEU and NIST are those of mteval-v13a and
 * whose ROUGE-L and CIDEr are those of pycocoevalcap). METEOR is not computed.
 *
 * BLEU and NIST are equal to those of e2e-metrics, but where its counts of n-grams of many short predictions are not positive: texts
 * are lower-cased and tokenized as mteval-v13a does. For ROUGE-L and CIDEr
 * e2e-metrics runs Stanford's PTBTokenizer in Java, and removes punctuation. Here a tokenizer with the same conventions does; on
 * equal tokens the scores are equal. Formulas and sources: docs/metrics.md.
 *
 * The order of inputs and of references does not matter, except for rounding. The work is done on the calling thread, a
 * millisecond at a time, between which the event loop runs.
 * @throws RubricateError ERR_ARGUMENT if the two lists differ in length or are empty, or an input has no reference; ERR_ABORTED
 */
export async function scoreTexts(options: ScoreTextsOptions): Promise<TextScores> {
  const given = checkOptions(options, { predictions: true, references: true, signal: true }, "scoreTexts");
  const signal = signalOf(given.signal);
  const predictions = stringsOf("predictions", given.predictions);
  const references = listOf("references", "a list with a list of strings for each prediction", given.references).map(
    (texts, at) => stringsOf(`references[${at}]`, texts),
  );
  if (predictions.length === 0) throw invalid("predictions", "at least one text", predictions);
  if (references.length !== predictions.length)
    throw invalid("references", `${predictions.length} lists of texts, one for each prediction,`, references.length);
  references.forEach((texts, at) => {
    if (texts.length === 0) throw invalid(`references[${at}]`, "at least one text", texts);
  });
  throwIfAborted(signal);
  return inSlices(scores(predictions, references), signal);
}

function* scores(predictions: readonly string[], references: readonly string[][]): Steps<TextScores> {
  const words = yield* tokenized(predictions, references, mtevalTokens);
  const corpus = { bleu: yield* bleu(words), nist: yield* nist(words) };
  const caption = yield* tokenized(predictions, references, ptbTokens);
  return { ...corpus, rougeL: yield* rougeL(caption), cider: yield* cider(caption) };
}

function* tokenized(
  predictions: readonly string[],
  references: readonly string[][],
  tokensOf: (text: string) => Steps<string[]>,
): Steps<Tokenized[]> {
  const rows: Tokenized[] = [];
  for (const [at, text] of predictions.entries()) {
    const prediction = yield* tokensOf(text);
    const own: string[][] = [];
    for (const reference of references[at]!) own.push(yield* tokensOf(reference));
    rows.push({ prediction, references: own });
    yield;
  }
  return rows;
}
