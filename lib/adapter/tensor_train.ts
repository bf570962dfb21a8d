/** Matrices as tensor trains: products of small cores, as LoRETTA has them. */
import type { AdapterPlan, PlanBuilder, PlanValue } from "./plan";
import { uniform } from "./start";

/**
 * Sizes whose product is width * inner, by inner and width: those of LoRETTA's released code (`tensor_util.py`). Entries there whose product is
 * another are not here.
 */
const published: Readonly<Record<number, Readonly<Record<number, readonly number[]>>>> = {
  5: {
    768: [5, 8, 12, 8],
    1024: [4, 8, 5, 8, 4],
    1280: [4, 8, 5, 8, 5],
    1536: [4, 8, 5, 8, 6],
    1600: [5, 8, 5, 8, 5],
    4096: [16, 16, 5, 4, 4],
  },
  8: {
    768: [8, 8, 12, 8],
    1024: [4, 8, 8, 8, 4],
    1280: [4, 8, 8, 8, 5],
    1536: [4, 8, 8, 8, 6],
    1600: [5, 8, 8, 8, 5],
    4096: [16, 16, 8, 4, 4],
    5120: [8, 8, 10, 8, 8],
    8192: [4, 16, 16, 16, 4],
  },
  16: {
    768: [8, 16, 12, 8],
    1024: [4, 8, 16, 8, 4],
    1280: [4, 8, 16, 8, 5],
    1536: [4, 8, 16, 8, 6],
    1600: [5, 8, 16, 8, 5],
    4096: [16, 16, 16, 4, 4],
    5120: [8, 16, 10, 8, 8],
    8192: [4, 16, 16, 16, 8],
  },
  64: {
    768: [8, 8, 12, 8, 8],
    1024: [4, 8, 8, 8, 8, 4],
    1280: [4, 8, 8, 8, 8, 5],
    1536: [4, 8, 8, 8, 8, 6],
    1600: [5, 8, 8, 8, 8, 5],
    4096: [16, 16, 16, 4, 4, 4],
    5120: [5, 8, 8, 16, 8, 8],
    8192: [4, 16, 16, 16, 8, 4],
  },
};

const mostSizes = 8;

/** Sizes whose product is width * inner: the published ones, or about 8 each, of the product's prime factors. */
export function trainSizes(width: number, inner: number): readonly number[] {
  const known = published[inner]?.[width];
  if (known) return known;
  const count = Math.min(mostSizes, Math.max(2, Math.round(Math.log2(width * inner) / 3)));
  const sizes = new Array<number>(count).fill(1);
  for (const prime of primeFactors(width * inner)) {
    const least = sizes.indexOf(Math.min(...sizes));
    sizes[least]! *= prime;
  }
  return sizes;
}

/** The largest first. */
function primeFactors(value: number): number[] {
  const factors: number[] = [];
  let rest = value;
  for (let prime = 2; prime * prime <= rest; prime++)
    while (rest % prime === 0) {
      factors.unshift(prime);
      rest /= prime;
    }
  return rest > 1 ? [rest, ...factors] : factors;
}

/**
 * A derived matrix [outputs, inputs] of new parameters, the cores: their product, reshaped by rows to [inputs, outputs], transposed.
 * @param rank between two cores
 */
export function tensorTrain(
  builder: PlanBuilder,
  name: string,
  sizes: readonly number[],
  [outputs, inputs]: readonly [number, number],
  rank: number,
): PlanValue {
  const letter = (at: number) => String.fromCharCode("a".charCodeAt(0) + at);
  const operands = sizes.map((size, at) => {
    const [left, right] = [at > 0, at + 1 < sizes.length];
    const shape = [...(left ? [rank] : []), size, ...(right ? [rank] : [])];
    const bond = (of: number) => letter(mostSizes + of);
    const axes = `${left ? bond(at - 1) : ""}${letter(at)}${right ? bond(at) : ""}`;
    return { of: builder.parameter(`${name}.core_${at}`, shape, 0), axes };
  });
  const axes = sizes.map((_, at) => letter(at)).join("");
  return builder.derive({ name, kind: "einsum", operands, axes, shape: [outputs, inputs], transposed: true });
}

/**
 * First values of the cores of all trains: uniform, so that a matrix's numbers have the variance 1 / (inputs + outputs).
 * @param stream distinguishes these numbers from others of the same seed
 */
export function* startOfTrains(
  { parameters, derived = [] }: AdapterPlan,
  seed: number,
  stream: number,
): Iterable<readonly [string, Float32Array]> {
  for (const train of derived) {
    if (train.kind !== "einsum") continue;
    const count = train.operands.length;
    const deviation = (train.shape[0]! + train.shape[1]!) ** (-0.5 / count);
    for (const [at, { of }] of train.operands.entries()) {
      const index = of as number;
      const { name, shape } = parameters[index]!;
      const right = at + 1 < count ? shape.at(-1)! : 1;
      const numbers = shape.reduce((product, size) => product * size, 1);
      yield [name, uniform(numbers, deviation * Math.sqrt(3 / right), seed, [stream, index])];
    }
  }
}
