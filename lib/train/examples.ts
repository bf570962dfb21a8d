import { createHash } from "node:crypto";
import { types } from "node:util";
import { hasBrand, sourceBrand } from "../brands";
import { EpochPlan, firstUnknown, type PlanOptions, planEpoch } from "../data/batches";
import { splitSteps } from "../data/split";
import type { Example } from "../data/types";
import { invalid, RubricateError } from "../errors";
import { readArgument } from "../options";
import { inSlices, type Steps } from "../steps";

/** A source of examples: a Dataset, or an array. */
export interface ExampleSource {
  readonly length: number;
  /** Tokens of each example, [examples]. */
  readonly lengths: ArrayLike<number>;
  /** Supervised tokens of each example, [examples]. */
  readonly supervisedCounts: ArrayLike<number>;
  /** Sources with equal fingerprints have the same examples in the same order. */
  readonly fingerprint: string;
  readonly reportCounts: { readonly skipped: number; readonly truncated: number };
  /** The token behind each text; null where there is none. Undefined where the examples were made elsewhere. */
  readonly endTokenId?: number | null;
  examples(indices: ArrayLike<number>): Promise<Example[]>;
  /** @throws RubricateError ERR_DATA if an example has an id that is not below `size` */
  requireVocabulary(size: number): Promise<void>;
  /** Micro-batches of an epoch, from `planEpoch`. */
  plan(options: PlanOptions): Promise<EpochPlan>;
  /** Splits the examples at random, in steps that let the event loop run. */
  splitInSlices(fraction: number, seed: number): Promise<{ train: ExampleSource; eval: ExampleSource }>;
}

/** Tokens counted and hashed in one step. */
const tokensOfAStep = 1 << 14;
/** Cost of an example without its tokens, in tokens. */
const tokensOfAnExample = 1 << 6;
/** Elements of an array checked in one step. */
const elementsOfAStep = 1 << 14;

/** Examples in memory. Those without supervised tokens are counted as skipped. */
export class ExampleArray implements ExampleSource {
  readonly [sourceBrand] = true;
  readonly length: number;
  readonly lengths: Int32Array;
  readonly supervisedCounts: Int32Array;
  readonly reportCounts: { readonly skipped: number; readonly truncated: number };

  private constructor(
    private readonly all: readonly Example[],
    private readonly name: string,
    columns: { lengths: Int32Array; supervisedCounts: Int32Array; skipped: number },
    readonly fingerprint: string,
  ) {
    this.length = all.length;
    this.lengths = columns.lengths;
    this.supervisedCounts = columns.supervisedCounts;
    this.reportCounts = { skipped: columns.skipped, truncated: 0 };
  }

  /**
   * Checks, copies, counts and hashes examples. A run reads them for hours, and the caller may change the arrays meanwhile.
   * @param name for messages
   * @param vocabulary ids are below it
   * @throws RubricateError ERR_ARGUMENT, ERR_DATA
   */
  static *steps(all: readonly Example[], name: string, vocabulary = Number.POSITIVE_INFINITY): Steps<ExampleArray> {
    return yield* ExampleArray.taken(yield* elementsOf(all, name), name, (example, at) => {
      const copy = copyExample(example, `${name}[${at}]`);
      requireKnown(copy.tokenIds, vocabulary, `${name}[${at}].tokenIds`);
      return copy;
    });
  }

  private static *taken(
    given: readonly Example[],
    name: string,
    take: (example: Example, at: number) => Example,
  ): Steps<ExampleArray> {
    const { length } = given;
    const columns = { lengths: new Int32Array(length), supervisedCounts: new Int32Array(length), skipped: 0 };
    const all: Example[] = [];
    const hash = createHash("sha256");
    let work = 0;
    for (const [at, example] of given.entries()) {
      const { tokenIds, supervised, line } = take(example, at);
      all.push({ tokenIds, supervised, line });
      columns.lengths[at] = tokenIds.length;
      columns.supervisedCounts[at] = countSupervised(supervised);
      if (columns.supervisedCounts[at] === 0) columns.skipped++;
      hash.update(Int32Array.of(tokenIds.length));
      hash.update(tokenIds).update(supervised);
      work += tokenIds.length + tokensOfAnExample;
      if (work < tokensOfAStep) continue;
      work = 0;
      yield;
    }
    return new ExampleArray(all, name, columns, hash.digest("hex"));
  }

  async examples(indices: ArrayLike<number>): Promise<Example[]> {
    return Array.from(indices, (index) => this.all[index]!);
  }

  async plan(options: PlanOptions): Promise<EpochPlan> {
    return EpochPlan.from(planEpoch({ ...options, lengths: this.lengths, supervisedCounts: this.supervisedCounts }));
  }

  async requireVocabulary(): Promise<void> {} // checked when they were copied

  splitInSlices(fraction: number, seed: number): Promise<{ train: ExampleSource; eval: ExampleSource }> {
    return inSlices(this.splitSteps(fraction, seed));
  }

  private *splitSteps(fraction: number, seed: number): Steps<{ train: ExampleSource; eval: ExampleSource }> {
    const parts = yield* splitSteps(this.length, fraction, seed);
    const those = (indices: Int32Array) => Array.from(indices, (index) => this.all[index]!);
    const own = (example: Example) => example;
    const train = yield* ExampleArray.taken(those(parts.train), this.name, own);
    return { train, eval: yield* ExampleArray.taken(those(parts.eval), "eval", own) };
  }
}

/**
 * The examples of a Dataset or an array; all ids are in the model's vocabulary.
 * @throws RubricateError ERR_DATA, ERR_ARGUMENT
 */
export async function exampleSource(
  data: ExampleSource | readonly Example[],
  name: string,
  vocabulary: number,
): Promise<ExampleSource> {
  if (hasBrand(data, sourceBrand)) {
    const source = data as ExampleSource;
    await source.requireVocabulary(vocabulary); // now, not when the row is reached
    return source;
  }
  return inSlices(ExampleArray.steps(data as readonly Example[], name, vocabulary));
}

/**
 * Copies a caller's array of examples. It allocates no memory for a length without elements.
 * @throws RubricateError ERR_ARGUMENT naming the first element that is not an object
 */
function* elementsOf(data: readonly Example[], name: string): Steps<Example[]> {
  const what = "a Dataset or an array of examples";
  const length = readArgument(name, what, () => {
    if (!Array.isArray(data)) throw invalid(name, what, data);
    return data.length;
  });
  const all: Example[] = [];
  while (all.length < length) {
    if (all.length > 0) yield;
    readArgument(name, what, () => {
      for (const end = Math.min(length, all.length + elementsOfAStep); all.length < end; ) {
        const element = data[all.length];
        if (typeof element !== "object" || element === null)
          throw invalid(`${name}[${all.length}]`, "an example", element);
        all.push(element);
      }
    });
  }
  return all;
}

/**
 * Checks that a model can take the examples.
 * @param most tokens of one, and what sets that
 * @throws RubricateError ERR_DATA if no token is supervised, ERR_CONTEXT_LENGTH if an example is too long
 */
export function requireFit(source: ExampleSource, most: number, name: string, what: string): void {
  let supervised = 0;
  for (let at = 0; at < source.length; at++) {
    supervised += source.supervisedCounts[at]!;
    if (source.lengths[at]! > most)
      throw new RubricateError(
        "ERR_CONTEXT_LENGTH",
        `Expected examples of at most ${most} tokens (${what}) but example ${at} of ${name} has ` +
          `${source.lengths[at]}; set maxLength when reading the data`,
      );
  }
  if (supervised === 0)
    throw new RubricateError("ERR_DATA", `Expected at least one supervised token in ${name} but there is none`);
}

/** @throws RubricateError ERR_ARGUMENT if it is not an example */
function copyExample(example: Example, name: string): Example {
  return readArgument(name, "an example", () => copyFields(example, name));
}

/** Copies with constructors, which call no method of the caller's arrays; lengths are taken from the copies. */
function copyFields(example: Example, name: string): Example {
  const { tokenIds, supervised, line } = example;
  const ids = types.isInt32Array(tokenIds) ? new Int32Array(tokenIds) : undefined;
  if (!ids || ids.length < 2) throw invalid(`${name}.tokenIds`, "an Int32Array of at least 2 ids", tokenIds);
  const mask = types.isUint8Array(supervised) ? new Uint8Array(supervised) : undefined;
  if (mask?.length !== ids.length)
    throw invalid(`${name}.supervised`, `a Uint8Array of length ${ids.length}`, supervised);
  if (line !== undefined && !Number.isSafeInteger(line)) throw invalid(`${name}.line`, "an integer", line);
  return { tokenIds: ids, supervised: mask, line };
}

function requireKnown(tokenIds: Int32Array, vocabulary: number, name: string): void {
  const at = firstUnknown(tokenIds, vocabulary);
  if (at >= 0) throw invalid(`${name}[${at}]`, `a token id from 0 to ${vocabulary - 1}`, tokenIds[at]);
}

/** Counts supervised tokens, except the first token, which is never a target. */
function countSupervised(supervised: Uint8Array): number {
  let count = 0;
  for (let at = 1; at < supervised.length; at++) count += supervised[at] ? 1 : 0;
  return count;
}
