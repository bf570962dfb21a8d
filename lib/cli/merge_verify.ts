/** Compares the logits of base and adapter with those of the merged folder. */
import { Random } from "../data/random";
import { RubricateError } from "../errors";
import type { LanguageModel } from "../model/model";
import type { Invocation } from "./command";
import { loadAdapter, loadModel } from "./load";

type Dtype = "float32" | "bfloat16";

const sequences = 4;
const longest = 64;
const seed = 7;
/** Distinguishes these numbers from others of the same seed. */
const stream = 0x4d657267;

/** Token sequences, the same for each call. */
function* tokenSequences({ vocabularySize, contextLength }: LanguageModel): Generator<Int32Array> {
  for (let at = 0; at < sequences; at++) {
    const random = new Random(seed, [stream, at]);
    yield Int32Array.from({ length: Math.min(longest, contextLength) }, () => random.uint32() % vocabularySize);
  }
}

/** The logits of all sequences, by a model that is loaded for this alone: two would need twice the memory. */
async function logitsOf(invocation: Invocation, model: string, dtype: Dtype | undefined, isMerged: boolean) {
  const values = { ...invocation.values, model, dtype };
  const loaded = await loadModel({ ...invocation, values });
  try {
    const adapter = isMerged ? undefined : await loadAdapter(invocation, loaded);
    const logits: Float32Array[] = [];
    for (const ids of tokenSequences(loaded))
      logits.push(await loaded.logits(ids, { adapter, signal: invocation.interrupts.signal }));
    return { logits, dtype: loaded.dtype };
  } finally {
    loaded.dispose();
  }
}

/** The largest absolute difference, and its ratio to the largest absolute logit of `expected`; NaN if any number is NaN. */
export function differenceOf(expected: readonly Float32Array[], received: readonly Float32Array[]) {
  let [difference, largest] = [0, 0];
  for (const [at, one] of expected.entries())
    for (let index = 0; index < one.length; index++) {
      const away = Math.abs(one[index]! - received[at]![index]!);
      if (!(away <= difference) && !Number.isNaN(difference)) difference = away; // NaN is the largest
      largest = Math.max(largest, Math.abs(one[index]!));
    }
  return { difference, ratio: difference === 0 ? 0 : difference / largest };
}

/**
 * Prints the differences. In float32 they are what rounding the merged weights costs. Of bfloat16 weights also: what merged and
 * unmerged model differ by when they compute in bfloat16, and beside it how far that is from float32 without a merge.
 * @throws RubricateError ERR_NOT_FINITE if a logit is not finite, after all differences are printed
 */
export async function verifyMerge(invocation: Invocation): Promise<void> {
  const { terminal, values } = invocation;
  const base = values.model!;
  const out = values.out!;
  const exact = await logitsOf(invocation, base, "float32", false);
  const merged = await logitsOf(invocation, out, "float32", true);
  const report = (type: string, text: string, { difference, ratio }: ReturnType<typeof differenceOf>) => {
    terminal.event({ type: "verify", comparison: type, largestDifference: difference, ratio });
    terminal.print(
      `${text.padEnd(58)}${difference.toExponential(2)}  (${ratio.toExponential(2)} of the largest logit)`,
    );
  };
  report("float32", "merged weights, computed in float32", differenceOf(exact.logits, merged.logits));
  const bf16 = await logitsOf(invocation, base, "bfloat16", false);
  const mergedBf16 = await logitsOf(invocation, out, "bfloat16", true);
  report("bfloat16", "merged weights, both computed in bfloat16", differenceOf(bf16.logits, mergedBf16.logits));
  report("rounding", "bfloat16 against float32, merged", differenceOf(exact.logits, mergedBf16.logits));
  report("rounding_base", "bfloat16 against float32, base and adapter", differenceOf(exact.logits, bf16.logits));
  const own = `the merged model at ${out}`;
  requireFinite([
    [`${own} in float32`, merged.logits],
    [`${own} in bfloat16`, mergedBf16.logits],
    ["base and adapter in float32", exact.logits],
    ["base and adapter in bfloat16", bf16.logits],
  ]);
}

/** Refuses what has logits that are not finite: a difference to them says nothing. */
function requireFinite(all: readonly (readonly [what: string, logits: readonly Float32Array[]])[]): void {
  const holds = (one: Float32Array) => one.every(Number.isFinite);
  const wrong = all.filter(([, logits]) => !logits.every(holds)).map(([what]) => what);
  if (wrong.length === 0) return;
  throw new RubricateError(
    "ERR_NOT_FINITE",
    `Expected finite logits but found NaN or Infinity in those of ${wrong.join(", ")}`,
  );
}
