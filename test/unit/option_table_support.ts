/** What the table of option_table.test.ts says of an option, and its rows for the usual kinds. */
type Refused = readonly [value: unknown, expected: string, text?: string];

export interface Row {
  readonly default: unknown;
  readonly identity: boolean;
  /** The smallest and largest accepted values, or all, with the checked setting if that differs. */
  readonly takes: readonly (readonly [value: unknown, settled?: unknown])[];
  /** Wrong values, what was expected, and the text of the command line that means the value. */
  readonly refuses: readonly Refused[];
  readonly flag?: string;
  /** Other options that it needs. */
  readonly others?: object;
}

/** Values that are refused for one reason; numbers also as texts of the command line. */
export const all = (expected: string, values: readonly unknown[]): Refused[] =>
  values.map((value) => [value, expected]);
export const numbers = (expected: string, ...values: number[]): Refused[] =>
  values.map((value) => [value, expected, String(value)]);

export const largest = Number.MAX_SAFE_INTEGER;
export const float32 = "a number from 2^-126 to 3.4028234663852886e+38 (the range of float32)";
export const [most32, least32] = [3.4028234663852886e38, 2 ** -126];

export function count(fallback: unknown, identity: boolean, flag?: string, others?: object): Row {
  const refuses = [
    ...numbers("a positive integer", 0, -1, 1.5, 2 ** 53, Number.POSITIVE_INFINITY),
    ...all("a positive integer", ["1", true, [1]]),
    ["many", "a positive integer", "many"] as const,
  ];
  return { default: fallback, identity, takes: [[1], [largest]], refuses, flag, others };
}

export function nonNegative(fallback: number, flag: string): Row {
  const refuses = [
    ...numbers("a number of at least 0", -1, -least32, Number.POSITIVE_INFINITY),
    ...numbers(`0 or ${float32}`, least32 / 2, 3.5e38),
    ...all("a number of at least 0", ["1", false]),
  ];
  return { default: fallback, identity: true, takes: [[0], [least32], [most32]], refuses, flag };
}

export function rate(fallback: number, flag: string): Row {
  const most = "a number of at most 1 - 2^-24 (the largest float32 below 1)";
  const refuses = [...numbers("a number in [0, 1)", -1e-9, 1, 2), ...numbers(most, 1 - 2 ** -25)];
  return { default: fallback, identity: true, takes: [[0], [1 - 2 ** -24]], refuses, flag };
}

export function boolean(fallback: unknown, others?: object): Row {
  const refuses = all("true or false", [0, 1, "true", "", {}]);
  return { default: fallback, identity: true, takes: [[true], [false]], refuses, others };
}

export function choice(fallback: string, flag: string, choices: readonly string[], others?: object): Row {
  const expected = `one of ${choices.join(", ")}`;
  const refuses: Refused[] = [
    ["other", expected, "other"],
    ["", expected, ""],
    ...all(expected, [0, true, [fallback]]),
  ];
  return { default: fallback, identity: true, takes: choices.map((one) => [one]), refuses, flag, others };
}
