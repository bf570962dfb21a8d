import { invalid, RubricateError } from "../errors";
import { limits } from "../limits";
import type { NativeMicroBatch } from "../native";
import { checkOptions, isMissing, type OptionNames } from "../options";
import { Random } from "./random";
import type { Example } from "./types";

/** Options of `dataset.plan`. */
export interface PlanOptions {
  /** Sequences of a micro-batch; ignored when packing. */
  readonly batchSize: number;
  /** A new random order each epoch; otherwise the order of the data. */
  readonly shuffle: boolean;
  /** Integer in [0, 2^53). */
  readonly seed: number;
  /** Which epoch, from 0. */
  readonly epoch: number;
  /** As many whole sequences in a micro-batch as have `maxTokens` tokens together. */
  readonly packing?: { readonly maxTokens: number } | undefined;
  /** Micro-batches of sequences of about the same length, the longest of all in the first. Default: false. */
  readonly groupByLength?: boolean | undefined;
}

/** What an epoch's plan depends on; nothing else does, so that a resumed run finds the same plan. */
export interface EpochPlanOptions extends PlanOptions {
  /** Tokens of each example, [examples]. */
  readonly lengths: ArrayLike<number>;
  /** Supervised tokens of each example, [examples]; examples without any are skipped. */
  readonly supervisedCounts: ArrayLike<number>;
}

/** Sequences that packing arranges at a time: enough to fill micro-batches, few enough to keep the order random. */
const packingWindow = 1024;
/** Micro-batches that are grouped by length at a time, as in transformers' `get_length_grouped_indices`. */
const groupedBatches = 50;
const orderStream = 1;

/**
 * Examples of each micro-batch of an epoch, in order.
 * @returns indices into `lengths`; every example with supervised tokens is there exactly once
 * @throws {RubricateError} ERR_ARGUMENT; ERR_DATA where a sequence is longer than `packing.maxTokens`
 */
export function planEpoch(options: EpochPlanOptions): number[][] {
  checkPlan(options);
  const { lengths, supervisedCounts, batchSize, shuffle, seed, epoch, packing, groupByLength } = options;
  const random = new Random(seed, [orderStream, epoch]);
  let order: number[] = [];
  for (let index = 0; index < lengths.length; index++) if (supervisedCounts[index]! > 0) order.push(index);
  if (shuffle) random.shuffle(order);
  if (packing) return pack(order, lengths, packing.maxTokens, shuffle ? random : undefined);
  if (groupByLength) order = groupedByLength(order, lengths, batchSize);
  return chunks(order, batchSize);
}

const positive = (value: number) => Number.isSafeInteger(value) && value > 0;

/** @throws RubricateError ERR_ARGUMENT */
export function checkBatchSize(batchSize: number): void {
  if (!positive(batchSize)) throw invalid("batchSize", "a positive integer", batchSize);
}

const planOptionNames: OptionNames<PlanOptions> = {
  batchSize: true,
  shuffle: true,
  seed: true,
  epoch: true,
  packing: true,
  groupByLength: true,
};
const packingNames: OptionNames<{ maxTokens: number }> = { maxTokens: true };

/**
 * The options of a plan as its thread takes them, checked here: in the thread a wrong one would look like a broken thread.
 * @throws RubricateError ERR_ARGUMENT
 */
export function checkedPlanOptions(given: PlanOptions): PlanOptions {
  const options = checkOptions(given, planOptionNames, "plan");
  const { batchSize, seed, epoch, shuffle, groupByLength } = options;
  checkBatchSize(batchSize);
  if (!Number.isSafeInteger(seed) || seed < 0) throw invalid("seed", "an integer in [0, 2^53)", seed);
  checkEpoch(epoch);
  for (const [name, value] of Object.entries({ shuffle, groupByLength: groupByLength ?? false }))
    if (typeof value !== "boolean") throw invalid(name, "true or false", value);
  const packing = isMissing(options.packing) ? undefined : checkOptions(options.packing, packingNames, "packing");
  checkPacking(packing);
  return { batchSize, seed, epoch, shuffle, groupByLength, packing: packing && { maxTokens: packing.maxTokens } };
}

function checkEpoch(epoch: number): void {
  if (!Number.isInteger(epoch) || epoch < 0 || epoch > limits.epoch)
    throw invalid("epoch", `an integer from 0 to ${limits.epoch}`, epoch);
}

function checkPacking(packing: { readonly maxTokens: number } | undefined): void {
  if (packing && !positive(packing.maxTokens))
    throw invalid("packing.maxTokens", "a positive integer", packing.maxTokens);
}

function checkPlan({ lengths, supervisedCounts, batchSize, epoch, packing }: EpochPlanOptions): void {
  if (supervisedCounts.length !== lengths.length)
    throw invalid("supervisedCounts.length", `${lengths.length}`, supervisedCounts.length);
  checkBatchSize(batchSize);
  checkEpoch(epoch);
  checkPacking(packing);
}

function chunks(order: number[], size: number): number[][] {
  const result: number[][] = [];
  for (let at = 0; at < order.length; at += size) result.push(order.slice(at, at + size));
  return result;
}

/** Sorts by length, longest first, within stretches of the order; the longest of all comes first, to fail early if at all. */
function groupedByLength(order: number[], lengths: ArrayLike<number>, batchSize: number): number[] {
  const batches = Math.max(1, Math.min(Math.floor(order.length / (batchSize * 4)), groupedBatches));
  const longestFirst = (a: number, b: number) => lengths[b]! - lengths[a]! || a - b;
  const stretches = chunks(order, batches * batchSize).map((stretch) => stretch.sort(longestFirst));
  let longest = 0;
  for (let at = 1; at < stretches.length; at++)
    if (lengths[stretches[at]![0]!]! > lengths[stretches[longest]![0]!]!) longest = at;
  const first = stretches[0];
  if (first && longest > 0) [first[0], stretches[longest]![0]] = [stretches[longest]![0]!, first[0]!];
  return stretches.flat();
}

/**
 * First-fit decreasing within windows of the order. Only whole sequences: nothing is cut. A window's micro-batches are put
 * into random order again, or, without shuffling, into the order of their first examples.
 */
function pack(order: number[], lengths: ArrayLike<number>, maxTokens: number, random: Random | undefined): number[][] {
  const result: number[][] = [];
  for (const window of chunks(order, packingWindow)) {
    const place = new Map(window.map((index, at) => [index, at]));
    const byPlace = (a: number, b: number) => place.get(a)! - place.get(b)!;
    const bins: { free: number; indices: number[] }[] = [];
    for (const index of [...window].sort((a, b) => lengths[b]! - lengths[a]! || byPlace(a, b))) {
      const length = lengths[index]!;
      if (length > maxTokens)
        throw new RubricateError(
          "ERR_DATA",
          `Example ${index} has ${length} tokens, more than a packed micro-batch of ${maxTokens}; raise packing.maxTokens or lower maxLength`,
        );
      let bin = bins.find((one) => one.free >= length);
      if (!bin) {
        bin = { free: maxTokens, indices: [] };
        bins.push(bin);
      }
      bin.free -= length;
      bin.indices.push(index);
    }
    const groups = bins.map((bin) => bin.indices.sort(byPlace));
    if (random) random.shuffle(groups);
    else groups.sort((a, b) => byPlace(a[0]!, b[0]!));
    for (const group of groups) result.push(group);
  }
  return result;
}

/** Micro-batches of an epoch, as indices of examples, in flat arrays. */
export class EpochPlan {
  /**
   * @param indices examples of all micro-batches in order, [examples]
   * @param starts first place of each micro-batch in `indices`, and the number of examples, [micro-batches + 1]
   */
  constructor(
    readonly indices: Int32Array<ArrayBuffer>,
    readonly starts: Int32Array<ArrayBuffer>,
  ) {}

  /** @internal */
  static from(groups: readonly (readonly number[])[]): EpochPlan {
    const starts = new Int32Array(groups.length + 1);
    for (const [at, group] of groups.entries()) starts[at + 1] = starts[at]! + group.length;
    const indices = new Int32Array(starts[groups.length]!);
    for (const [at, group] of groups.entries()) indices.set(group, starts[at]!);
    return new EpochPlan(indices, starts);
  }

  /** Number of micro-batches. */
  get length(): number {
    return this.starts.length - 1;
  }

  /** Examples of a micro-batch, a view, [sequences]. */
  batch(at: number): Int32Array {
    return this.indices.subarray(this.starts[at], this.starts[at + 1]);
  }
}

/**
 * Concatenates examples. The target of a position is the next token of its own sequence where that is supervised.
 * @param examples at least one, each of at least one token
 * @param slot of each: 1 with an adapter
 */
export function collate(examples: readonly Example[], slot: 0 | 1 = 0): Required<NativeMicroBatch> {
  if (examples.length === 0) throw invalid("examples", "at least one example", examples);
  const sequenceStarts = new Int32Array(examples.length + 1);
  for (const [at, { tokenIds }] of examples.entries()) sequenceStarts[at + 1] = sequenceStarts[at]! + tokenIds.length;
  const tokens = sequenceStarts[examples.length]!;
  const tokenIds = new Int32Array(tokens);
  const targets = new Int32Array(tokens).fill(-1);
  for (const [at, example] of examples.entries()) {
    const start = sequenceStarts[at]!;
    tokenIds.set(example.tokenIds, start);
    for (let next = 1; next < example.tokenIds.length; next++)
      if (example.supervised[next]) targets[start + next - 1] = example.tokenIds[next]!;
  }
  return { tokenIds, sequenceStarts, targets, slots: new Int32Array(examples.length).fill(slot) };
}

/** Index of the first id that a vocabulary does not have, or -1. */
export function firstUnknown(tokenIds: Int32Array, vocabulary: number): number {
  for (let at = 0; at < tokenIds.length; at++) if (tokenIds[at]! < 0 || tokenIds[at]! >= vocabulary) return at;
  return -1;
}

/**
 * Checks that examples, as they were read, are a model's.
 * @throws RubricateError ERR_DATA naming the line
 */
function requireVocabulary(examples: readonly Example[], vocabulary: number): void {
  for (const { tokenIds, line } of examples) {
    const at = firstUnknown(tokenIds, vocabulary);
    if (at >= 0)
      throw new RubricateError(
        "ERR_DATA",
        `Expected token ids from 0 to ${vocabulary - 1}, the model's vocabulary, but line ${line} of the data has ` +
          `${tokenIds[at]}; read the data with this model's tokenizer`,
      );
  }
}

/**
 * As `collate`.
 * @param vocabulary of the model
 * @throws RubricateError ERR_DATA where an id is not in the vocabulary
 */
export function microBatchOf(examples: readonly Example[], slot: 0 | 1, vocabulary: number): NativeMicroBatch {
  requireVocabulary(examples, vocabulary);
  return collate(examples, slot);
}
