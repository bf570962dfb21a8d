import { createHash } from "node:crypto";
import path from "node:path";
import { isInstance, sourceBrand } from "../brands";
import { markCopy } from "../copies";
import { invalid, RubricateError } from "../errors";
import { abortError, Callback, onAbort, throwIfAborted } from "../job";
import { limits } from "../limits";
import {
  booleanOf,
  checkOptions,
  functionOf,
  integersOf,
  isMissing,
  lengthOf,
  type OptionNames,
  pathOf,
  readArgument,
  signalOf,
} from "../options";
import { atOnce, inSlices, type Steps } from "../steps";
import { Tokenizer } from "../tokenizer/tokenizer";
import { checkedPlanOptions, EpochPlan, type PlanOptions } from "./batches";
import { DataWorker } from "./data_thread";
import { beyondVocabulary, type EncodingOptions } from "./encode_row";
import { cacheFolder } from "./index_cache";
import { type DataFormat, dataFormats } from "./rows";
import { sendRows } from "./sent_rows";
import { splitSteps } from "./split";
import type { Example, IndexProgress, IndexSummary, ReasonReport, RowReport } from "./types";

export type { DataFormat } from "./rows";
export type { IndexProgress } from "./types";

/** How rows become examples, see docs/data-formats.md. */
export interface DatasetOptions {
  readonly tokenizer: Tokenizer;
  /** Shape of the rows. Default: "auto", each row by its own fields. */
  readonly format?: DataFormat;
  /** Tokens of an example at most, 2 or more; longer ones are truncated and listed in `reports`. */
  readonly maxLength: number;
  /** Which tokens are learned: completions and the assistant's turns (default), or all. */
  readonly loss?: "completion" | "all";
  /**
   * `model.vocabularySize`: rows with a token that the model does not have are skipped and listed in `reports`. Default: such rows
   * stay, and training or evaluation with them is refused.
   */
  readonly vocabularySize?: number;
  /** Ends indexing at the first row that cannot be used, with ERR_DATA. Default: false; such rows are skipped. */
  readonly strict?: boolean;
  /** Ends indexing with ERR_ABORTED. */
  readonly signal?: AbortSignal;
  /** Told some twenty times a second how far indexing has come. What it throws ends indexing, which rejects with it. */
  readonly onProgress?: (progress: IndexProgress) => void;
}

const optionNames: OptionNames<DatasetOptions> = {
  tokenizer: true,
  format: true,
  maxLength: true,
  loss: true,
  vocabularySize: true,
  strict: true,
  signal: true,
  onProgress: true,
};

/** A token of an example, for people to look at. */
export interface InspectedToken {
  readonly id: number;
  /** What the token adds to the text; empty where a character is not complete yet. The texts together are the whole. */
  readonly text: string;
  /** The token as the vocabulary spells it. */
  readonly piece: string;
  readonly supervised: boolean;
}

/** What all views of a dataset share. */
interface Source extends IndexSummary {
  readonly worker: DataWorker;
  readonly tokenizer: Tokenizer;
  readonly fingerprint: string;
}

/** Closes the sources of which no dataset is left. */
const collected = new FinalizationRegistry<DataWorker>((worker) =>
  worker.abandon(new RubricateError("ERR_DISPOSED", "The dataset was collected as garbage")),
);

/**
 * Examples to train on or to evaluate with. The rows stay in their file, of which an index is kept; a thread reads and
 * tokenises them at each request, so that the event loop stays free and memory bounded. All datasets together have at most
 * two such threads. Dispose of it when done; the garbage collector is the safety net.
 */
export class Dataset {
  static {
    markCopy(Dataset);
  }

  /** @internal */
  readonly [sourceBrand] = true;
  /** Tokens of each example, [examples]. */
  readonly lengths: Int32Array;
  /** Supervised tokens of each example, at least 1, [examples]. */
  readonly supervisedCounts: Int32Array;
  /** Sum of `lengths`. */
  readonly tokenCount: number;
  /** Sum of `supervisedCounts`. */
  readonly supervisedTokenCount: number;
  /**
   * SHA-256, in hexadecimal, of the data's bytes, the tokenizer, the options and, of a part, its examples: the same
   * fingerprint means the same examples in the same order.
   */
  readonly fingerprint: string;

  private constructor(
    private readonly source: Source,
    /** Rows of the source, or undefined for all. */
    private readonly rows: Int32Array | undefined,
  ) {
    this.lengths = rows ? gathered(source.lengths, rows) : source.lengths;
    this.supervisedCounts = rows ? gathered(source.supervisedCounts, rows) : source.supervisedCounts;
    this.tokenCount = rows ? sum(this.lengths) : source.tokenCount;
    this.supervisedTokenCount = rows ? sum(this.supervisedCounts) : source.supervisedTokenCount;
    this.fingerprint = rows
      ? createHash("sha256").update(source.fingerprint).update(new Uint8Array(rows.buffer)).digest("hex")
      : source.fingerprint;
  }

  /**
   * Indexes a JSONL file: every row is read and tokenised once, in a thread. The index of a file of a MiB or more is kept on
   * disk (docs/data-formats.md) and used again while the file's bytes, the tokenizer and the options are the same.
   * @throws {RubricateError} ERR_FILE; ERR_DATA where no row can be used or the file changes meanwhile; ERR_TEMPLATE where
   *   no conversation can be encoded with the chat template; ERR_ABORTED; ERR_ARGUMENT
   */
  static async fromJsonl(file: string, options: DatasetOptions): Promise<Dataset> {
    pathOf("path", file);
    return Dataset.index({ path: path.resolve(file), byName: false }, checked(options, "Dataset.fromJsonl"));
  }

  /**
   * As `fromJsonl`, of a file whose name says what it is: comma-separated values (.csv), one JSON array (.json, if it begins
   * with "["), or else JSONL. Line numbers of an array are places in it.
   */
  static async fromFile(file: string, options: DatasetOptions): Promise<Dataset> {
    pathOf("path", file);
    return Dataset.index({ path: path.resolve(file), byName: true }, checked(options, "Dataset.fromFile"));
  }

  /**
   * As `fromJsonl`, with rows from memory. Line numbers are 1-based places in the array.
   * @param rows objects as the lines of a JSONL file would hold them
   */
  static async fromRows(rows: readonly unknown[], options: DatasetOptions): Promise<Dataset> {
    const isArray = readArgument("rows", "an array", () => Array.isArray(rows) && rows.length >= 0);
    if (!isArray) throw invalid("rows", "an array", rows);
    return Dataset.index({ rows }, checked(options, "Dataset.fromRows"));
  }

  private static async index(
    { path: file, byName = false, rows }: { path?: string; byName?: boolean; rows?: readonly unknown[] },
    { tokenizer, signal, onProgress, strict, encoding }: CheckedOptions,
  ): Promise<Dataset> {
    const stopped = "Indexing was stopped";
    throwIfAborted(signal, stopped);
    const cache = file === undefined ? undefined : cacheFolder();
    const worker = new DataWorker({ tokenizer: tokenizer.parts, options: encoding, path: file, byName, strict, cache });
    const progress = new Callback(onProgress);
    progress.stop = () => void worker.close(new RubricateError("ERR_ABORTED", "onProgress failed"));
    worker.onNotice = onProgress && ((done) => progress.tell(done));
    let release: (() => void) | undefined;
    try {
      release = signal && onAbort(signal, () => void worker.close(abortError(signal, stopped)));
      const summary = await progress.during(async () => {
        if (rows) await sendRows(worker, rows);
        return worker.call("index", null);
      });
      const { format, maxLength, loss, vocabularySize } = encoding;
      const identity = [summary.contentHash, tokenizer.hash, tokenizer.eosTokenIds, format, maxLength, loss];
      if (vocabularySize !== undefined && vocabularySize < tokenizer.vocabSize) identity.push(vocabularySize);
      if (summary.layout !== "jsonl") identity.push(summary.layout);
      const fingerprint = createHash("sha256").update(JSON.stringify(identity)).digest("hex");
      const source = { ...summary, worker, tokenizer, fingerprint };
      collected.register(source, worker);
      return new Dataset(source, undefined);
    } catch (error) {
      await worker.close(error as RubricateError);
      throw error;
    } finally {
      release?.();
      worker.onNotice = undefined;
    }
  }

  /** Number of examples. */
  get length(): number {
    return this.lengths.length;
  }

  /** The token that is put behind a text or a completion, at which generation stops; null where the tokenizer has none. */
  get endTokenId(): number | null {
    return this.source.tokenizer.eosTokenId ?? null;
  }

  /** Rows of the whole source that were skipped or truncated, with line and reason: the first thousand. */
  get reports(): readonly RowReport[] {
    return this.source.reports;
  }

  /**
   * For people: what rows of the whole source have that the chat template does not write ("tools", or "tool_calls" of
   * messages), and how many tokens stand for characters that the tokenizer cannot spell.
   */
  get notices(): readonly string[] {
    return this.source.notices;
  }

  /** How many rows of the whole source were skipped and truncated, those after the first thousand included. */
  get reportCounts(): { readonly skipped: number; readonly truncated: number } {
    return this.source.reportCounts;
  }

  /** How many usable rows of the whole source are conversations. @internal */
  get chatRows(): number {
    return this.source.chatRows;
  }

  /** The same by reasons, each with its number of rows and the first lines: fifty reasons, and the others together. */
  get reportReasons(): readonly ReasonReport[] {
    return this.source.reportReasons;
  }

  /**
   * Checks that a model has all tokens of the examples. Nothing is read where the tokenizer has no more than the model.
   * @throws {RubricateError} ERR_DATA naming the first line with another token
   * @internal
   */
  async requireVocabulary(size: number): Promise<void> {
    const { tokenizer, highestIds } = this.source;
    if (tokenizer.vocabSize <= size) return;
    const { rows } = this;
    let first = -1;
    let count = 0;
    for (let at = 0; at < this.length; at++)
      if (highestIds[rows ? rows[at]! : at]! >= size) {
        count++;
        if (first < 0) first = at;
      }
    if (first < 0) return;
    const [example] = await this.examples([first]);
    const id = example!.tokenIds.find((one) => one >= size)!;
    throw new RubricateError(
      "ERR_DATA",
      `Expected token ids from 0 to ${size - 1}, the model's vocabulary, but line ${example!.line} of the data has ` +
        `${beyondVocabulary(tokenizer, id, size)}; with vocabularySize the ${count} rows with such tokens are skipped`,
    );
  }

  /**
   * Examples by index, read and tokenised at this call.
   * @returns the examples in the order of `indices`, which may repeat
   * @throws {RubricateError} ERR_DATA where the file has changed; ERR_DISPOSED; ERR_ARGUMENT
   */
  async examples(indices: ArrayLike<number>): Promise<Example[]> {
    const length = lengthOf("indices", "an array of indices", indices);
    if (length > limits.exampleIndices) throw invalid("indices", `at most ${limits.exampleIndices} indices`, indices);
    const wanted = integersOf("indices", indices, length, 0, this.length - 1);
    const { rows } = this;
    if (rows) for (let at = 0; at < length; at++) wanted[at] = rows[wanted[at]!]!;
    const { tokenIds, supervised, starts, lines } = await this.source.worker.call("examples", wanted);
    return Array.from(wanted, (_, at) => ({
      tokenIds: tokenIds.subarray(starts[at], starts[at + 1]),
      supervised: supervised.subarray(starts[at], starts[at + 1]),
      line: lines[at]!,
    }));
  }

  /**
   * Micro-batches of an epoch, as `planEpoch` plans them, made in a thread: a large plan takes a while.
   * @throws {RubricateError} as `planEpoch`; ERR_DISPOSED
   */
  async plan(options: PlanOptions): Promise<EpochPlan> {
    const { lengths, supervisedCounts } = this;
    const checkedOptions = checkedPlanOptions(options);
    const { indices, starts } = await this.source.worker.call("plan", { ...checkedOptions, lengths, supervisedCounts });
    return new EpochPlan(indices, starts);
  }

  /** An example token by token, with which of them are learned. */
  async inspect(index: number): Promise<InspectedToken[]> {
    const { tokenizer } = this.source;
    const [{ tokenIds, supervised } = undefined as never] = await this.examples([index]);
    const decoder = tokenizer.createDecoder();
    const tokens = Array.from(tokenIds, (id, at) => ({
      id,
      text: decoder.push(id),
      piece: tokenizer.tokenText(id) ?? "",
      supervised: supervised[at] === 1,
    }));
    const last = tokens.at(-1)!;
    last.text += decoder.end();
    return tokens;
  }

  /**
   * Splits the examples at random, which takes some 0.2 s for each million. The parts share this dataset's rows and end
   * with it.
   * @param fraction share of the examples that `eval` gets, in (0, 1); each part gets at least one
   * @param seed integer in [0, 2^53); the same seed splits the same data alike on every machine
   */
  split(fraction: number, seed: number): { train: Dataset; eval: Dataset } {
    return atOnce(this.splitSteps(fraction, seed));
  }

  /** As `split`, in slices between which the event loop runs. @internal */
  splitInSlices(fraction: number, seed: number): Promise<{ train: Dataset; eval: Dataset }> {
    return inSlices(this.splitSteps(fraction, seed));
  }

  private *splitSteps(fraction: number, seed: number): Steps<{ train: Dataset; eval: Dataset }> {
    if (!(typeof fraction === "number" && fraction > 0 && fraction < 1))
      throw invalid("fraction", "a number between 0 and 1", fraction);
    const parts = yield* splitSteps(this.length, fraction, seed);
    const part = (indices: Int32Array) => new Dataset(this.source, this.rows ? gathered(this.rows, indices) : indices);
    return { train: part(parts.train), eval: part(parts.eval) };
  }

  /** Closes the file, and ends the thread that no other dataset uses. Examples of this dataset and of its parts can no longer be read. */
  async dispose(): Promise<void> {
    await this.source.worker.close(new RubricateError("ERR_DISPOSED", "The dataset was disposed of"));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }
}

/** A call's options, checked before a thread is started for it. */
interface CheckedOptions {
  readonly tokenizer: Tokenizer;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: DatasetOptions["onProgress"];
  readonly strict: boolean;
  readonly encoding: EncodingOptions;
}

function checked(options: DatasetOptions, what: string): CheckedOptions {
  const given = checkOptions(options, optionNames, what);
  const { tokenizer, format = "auto", maxLength, loss = "completion" } = given;
  if (!isInstance(tokenizer, Tokenizer)) throw invalid("tokenizer", "a Tokenizer", tokenizer);
  if (!dataFormats.includes(format))
    throw invalid("format", '"auto", "chat", "prompt", "text", "alpaca" or "sharegpt"', format);
  if (!Number.isSafeInteger(maxLength) || maxLength < 2)
    throw invalid("maxLength", "an integer of at least 2", maxLength);
  if (loss !== "completion" && loss !== "all") throw invalid("loss", '"completion" or "all"', loss);
  const signal = signalOf(given.signal);
  const onProgress = functionOf("onProgress", given.onProgress);
  const vocabularySize = isMissing(given.vocabularySize) ? undefined : given.vocabularySize;
  if (vocabularySize !== undefined && !(Number.isSafeInteger(vocabularySize) && vocabularySize > 0))
    throw invalid("vocabularySize", "a positive integer", vocabularySize);
  const strict = booleanOf("strict", given.strict, false);
  return { tokenizer, signal, onProgress, strict, encoding: { format, maxLength, loss, vocabularySize } };
}

// Plain loops over what may be millions of rows, on the caller's thread: an iterator takes ten times as long.

function gathered(column: Int32Array, rows: Int32Array): Int32Array {
  const result = new Int32Array(rows.length);
  for (let at = 0; at < rows.length; at++) result[at] = column[rows[at]!]!;
  return result;
}

function sum(column: Int32Array): number {
  let total = 0;
  for (let at = 0; at < column.length; at++) total += column[at]!;
  return total;
}
