/** Means with intervals over few runs. */

/** A mean with its 95 % interval, mean - half to mean + half. `half` is null for one value: it says nothing of its spread. */
export interface Interval {
  readonly mean: number;
  readonly half: number | null;
  /** Number of values. */
  readonly count: number;
}

/**
 * P(|T| <= t) of Student's t with whole degrees of freedom, as a finite sum in the angle atan(t / sqrt(degrees)): Abramowitz and
 * Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4.
 */
function centralProbability(angle: number, degrees: number): number {
  const [sine, cosine] = [Math.sin(angle), Math.cos(angle)];
  const isOdd = degrees % 2 === 1;
  let term = isOdd ? cosine : 1;
  let sum = degrees === 1 ? 0 : term;
  for (let at = isOdd ? 3 : 2; at < degrees; at += 2) {
    term *= ((at - 1) / at) * cosine * cosine;
    sum += term;
  }
  return isOdd ? (2 / Math.PI) * (angle + sine * sum) : sine * sum;
}

/**
 * The t for which Student's t lies within -t and t with this probability.
 * @param degrees degrees of freedom, an integer of at least 1
 */
export function studentQuantile(probability: number, degrees: number): number {
  let [low, high] = [0, Math.PI / 2];
  // The probability rises with the angle; 60 halvings leave no bit.
  for (let halving = 0; halving < 60; halving++) {
    const angle = (low + high) / 2;
    if (centralProbability(angle, degrees) < probability) low = angle;
    else high = angle;
  }
  return Math.tan((low + high) / 2) * Math.sqrt(degrees);
}

/** @param values at least one */
export function intervalOf(values: readonly number[]): Interval {
  const count = values.length;
  const mean = values.reduce((sum, value) => sum + value, 0) / count;
  if (count < 2) return { mean, half: null, count };
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (count - 1);
  return { mean, half: studentQuantile(0.95, count - 1) * Math.sqrt(variance / count), count };
}

/** Values by seed. */
export type BySeed = ReadonlyMap<number, number>;

/**
 * The interval of the differences of two methods, each of the same seed: what the seed changes in both falls out.
 * @returns undefined without a seed that both have
 */
export function pairedDifference(values: BySeed, reference: BySeed): Interval | undefined {
  const differences = [...values].flatMap(([seed, value]) => {
    const other = reference.get(seed);
    return other === undefined ? [] : [value - other];
  });
  return differences.length === 0 ? undefined : intervalOf(differences);
}

/** @param values at least one */
export function medianOf(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
