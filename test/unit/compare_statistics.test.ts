/** Intervals of a comparison, against published and hand-computed values. */
import { intervalOf, medianOf, pairedDifference, studentQuantile } from "../../lib/compare/statistics";

// Of tables of Student's t: the two-sided 95 % points, and the 99 % ones.
test.each([
  [0.95, 1, 12.706204736],
  [0.95, 2, 4.30265273],
  [0.95, 3, 3.182446305],
  [0.95, 4, 2.776445105],
  [0.95, 9, 2.262157163],
  [0.95, 10, 2.228138852],
  [0.95, 29, 2.045229642],
  [0.95, 30, 2.042272456],
  [0.95, 100, 1.983971519],
  [0.95, 999, 1.962341461],
  [0.99, 1, 63.656741162],
  [0.99, 4, 4.604094871],
  [0.99, 5, 4.032142984],
  [0.5, 1, 1],
])("t lies within its %d point with %i degrees of freedom: %d", (probability, degrees, expected) => {
  expect(studentQuantile(probability, degrees)).toBeCloseTo(expected, 7);
});

test("an interval over few values", () => {
  // Mean 2.5; variance 5/3; half = 3.182446305 * sqrt(5/3/4)
  const { mean, half, count } = intervalOf([1, 2, 3, 4]);
  expect([mean, count]).toEqual([2.5, 4]);
  expect(half).toBeCloseTo(2.0542605, 6);
  expect(intervalOf([7])).toEqual({ mean: 7, half: null, count: 1 });
  expect(intervalOf([3, 3, 3])).toEqual({ mean: 3, half: 0, count: 3 });
});

test("differences are of the same seed", () => {
  const reference = new Map([
    [0, 10],
    [1, 20],
    [2, 30],
  ]);
  const values = new Map([
    [2, 31],
    [0, 11.5],
    [1, 21],
  ]);
  // 1, 1.5, 1: mean 3.5/3, variance 1/12, half = 4.302652730 * sqrt(1/36)
  const difference = pairedDifference(values, reference)!;
  expect(difference.mean).toBeCloseTo(3.5 / 3, 12);
  expect(difference.half).toBeCloseTo(0.71710879, 7);
  expect(difference.count).toBe(3);
});

test("a seed that one of both lacks has no difference", () => {
  const [some, other] = [new Map([[0, 1]]), new Map([[1, 2]])];
  expect(pairedDifference(some, other)).toBeUndefined();
  const both = new Map([...some, ...other]);
  expect(pairedDifference(both, other)).toEqual({ mean: 0, half: null, count: 1 });
});

test("medians", () => {
  expect(medianOf([5])).toBe(5);
  expect(medianOf([9, 1, 4])).toBe(4);
  expect(medianOf([10, 2, 1, 3])).toBe(2.5);
});
