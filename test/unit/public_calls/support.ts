/** Helpers for the tables of public calls. */
import type * as api from "../../../lib/index";

class Thrown extends Error {}

const throwing = () =>
  new Proxy({}, { get: fails, has: fails, ownKeys: fails, getOwnPropertyDescriptor: fails, getPrototypeOf: fails });
function fails(): never {
  throw new Thrown("from a trap");
}

function revoked(): object {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
}

function detached(): Int32Array {
  const array = Int32Array.of(1, 2);
  structuredClone(array.buffer, { transfer: [array.buffer as ArrayBuffer] });
  return array;
}

/** Values of wrong types, by mistake or malice. Each is made for one call. */
export const oddValues: Record<string, () => unknown> = {
  undefined: () => undefined,
  null: () => null,
  true: () => true,
  false: () => false,
  zero: () => 0,
  one: () => 1,
  half: () => 0.5,
  minus: () => -1,
  huge: () => 1e300,
  NaN: () => Number.NaN,
  bigint: () => 1n,
  text: () => "x",
  symbol: () => Symbol("s"),
  object: () => ({}),
  array: () => [],
  hole: () => new Array(1),
  function: () => () => {},
  throwing,
  revoked,
  map: () => new Map(),
  promise: () => Promise.resolve(1),
  class: () => new (class Odd {})(),
  constructorThrows: () => ({
    get constructor() {
      return fails();
    },
  }),
  oddName: () => ({ constructor: { name: Symbol("name") } }),
  floats: () => Float64Array.of(1.5, Number.NaN),
  detached,
  endless: () => ({ length: 2 ** 40 }),
  negative: () => ({ length: -1 }),
};

export interface Subjects {
  readonly dir: string;
  /** Hold an adapter each. */
  readonly adapterDir: string;
  readonly loraDir: string;
  readonly ia3Dir: string;
  readonly referenceFile: string;
  /** Where calls may write. */
  readonly out: string;
  readonly model: api.LanguageModel;
  readonly tokenizer: api.Tokenizer;
  readonly adapter: api.RedAdapter;
  readonly lora: api.LoraAdapter;
  readonly ia3: api.Ia3Adapter;
  readonly data: api.Dataset;
  readonly examples: readonly api.Example[];
  readonly tensor: (...shape: number[]) => api.Tensor;
  readonly tape: api.Tape;
}

export interface PublicCall {
  /** Valid arguments; the last one may be an object of options. */
  readonly args: (s: Subjects) => unknown[];
  readonly call: (s: Subjects, args: never[]) => unknown;
  /** Valid values of each option. */
  readonly options?: (s: Subjects) => Record<string, unknown>;
  /** Odd values that are accepted, by the argument's number or the option's name. */
  readonly takes?: Readonly<Record<string, string>>;
  /** Allowed codes in addition to ERR_ARGUMENT. */
  readonly codes?: readonly api.ErrorCode[];
  /** Odd values that are skipped, by the argument's number: for example paths that would be written to. */
  readonly skips?: Readonly<Record<string, string>>;
  /** false: good arguments are not tried here. */
  readonly runs?: false;
}

/** An optional argument or option. */
export const missing = "undefined null";
/** Odd values for an object of options: any without an unknown option. */
export const noOptions = "undefined object class";
export const withoutNull = "undefined";
export const choice = `${missing} true false`;
export const fileCodes: readonly api.ErrorCode[] = ["ERR_FILE"];

type Call = PublicCall["call"];
export const on =
  <K extends keyof Subjects>(subject: K, method: keyof Subjects[K]): Call =>
  (s, args) =>
    (s[subject] as unknown as Record<PropertyKey, (...all: unknown[]) => unknown>)[method as string]!(...args);
export const none = () => [];

export const drained = async (events: AsyncGenerator<unknown>) => {
  for await (const _ of events) {
    // only whether it ends matters
  }
};
/** Consumes a call's result to its end. */
export async function settled(value: unknown): Promise<unknown> {
  const result = value as Partial<AsyncGenerator> | undefined;
  return typeof result?.next === "function" ? drained(result as AsyncGenerator) : value;
}
