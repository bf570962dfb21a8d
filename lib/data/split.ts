import { RubricateError } from "../errors";
import type { Steps } from "../steps";
import { Random } from "./random";

const splitStream = 2;
const stepLength = 1 << 11;

/**
 * Splits examples at random.
 * @param length number of examples
 * @param fraction share of them that `eval` gets, in (0, 1); each part gets at least one
 * @returns indices of either part, ascending
 * @throws {RubricateError} ERR_DATA where there are fewer than two examples
 */
export function* splitSteps(
  length: number,
  fraction: number,
  seed: number,
): Steps<{ train: Int32Array; eval: Int32Array }> {
  if (length < 2) throw new RubricateError("ERR_DATA", `Expected at least 2 examples to split but received ${length}`);
  const count = Math.min(length - 1, Math.max(1, Math.round(length * fraction)));
  const random = new Random(seed, [splitStream, 0]);
  const order = new Int32Array(length);
  for (let at = 0; at < length; at++) order[at] = at;
  // Random.shuffle, which places the last first: those in the first `count` places at the end are the ones drawn.
  for (let at = length - 1; at > 0; at--) {
    const other = random.below(at + 1);
    const element = order[at]!;
    order[at] = order[other]!;
    order[other] = element;
    if (at % stepLength === 0) yield;
  }
  const drawn = new Uint8Array(length);
  for (let at = 0; at < count; at++) drawn[order[at]!] = 1;
  yield;
  const parts = { train: new Int32Array(length - count), eval: new Int32Array(count) };
  let inTrain = 0;
  let inEval = 0;
  for (let at = 0; at < length; at++) {
    if (drawn[at]) parts.eval[inEval++] = at;
    else parts.train[inTrain++] = at;
    if (at % (1 << 16) === 0) yield;
  }
  return parts;
}
