import { quoted, RubricateError } from "../errors";
import { limits } from "../limits";

/** Reads values of a parsed JSON document and names the path in every error. */
export class ConfigReader {
  constructor(
    private readonly value: Record<string, unknown>,
    private readonly path: string,
  ) {}

  static of(document: unknown, path: string): ConfigReader {
    if (typeof document !== "object" || document === null || Array.isArray(document)) {
      throw new RubricateError("ERR_CONFIG", `Expected a JSON object in ${path}`);
    }
    return new ConfigReader(document as Record<string, unknown>, path);
  }

  has(key: string): boolean {
    return this.value[key] !== undefined && this.value[key] !== null;
  }

  /** Whether the field is there, perhaps as null. */
  given(key: string): boolean {
    return this.value[key] !== undefined;
  }

  fail(key: string, expected: string): RubricateError {
    const received = describeValue(this.value[key]);
    return new RubricateError("ERR_CONFIG", `Expected ${expected} for ${key} in ${this.path} but received ${received}`);
  }

  integer(key: string, least: number, most: number, fallback?: number): number {
    const value = this.has(key) ? this.value[key] : fallback;
    if (!Number.isSafeInteger(value) || (value as number) < least || (value as number) > most) {
      throw this.fail(key, `an integer from ${least} to ${most}`);
    }
    return value as number;
  }

  positive(key: string, fallback?: number, most: number = limits.maxPositive): number {
    if (!this.has(key) && fallback !== undefined) return fallback;
    const value = this.value[key];
    if (typeof value !== "number" || !(value >= limits.minPositive && value <= most)) {
      throw this.fail(key, `a number from ${limits.minPositive} to ${most}`);
    }
    return value;
  }

  boolean(key: string, fallback: boolean): boolean {
    if (!this.has(key)) return fallback;
    const value = this.value[key];
    if (typeof value !== "boolean") throw this.fail(key, "true or false");
    return value;
  }

  string(key: string, fallback?: string): string {
    if (!this.has(key) && fallback !== undefined) return fallback;
    const value = this.value[key];
    if (typeof value !== "string") throw this.fail(key, "a string");
    return value;
  }

  /** A value that has two names, as in transformers' attribute_map. Of two given, transformers takes `other`. */
  either<Value>(name: string, other: string, read: (name: string) => Value, fallback: Value): Value {
    if (this.has(other)) return read(other);
    return this.has(name) ? read(name) : fallback;
  }

  /** A list of one of the choices for each of `length` things; undefined without the field. */
  choices(key: string, choices: readonly string[], length: number): readonly string[] | undefined {
    if (!this.has(key)) return undefined;
    const value = this.value[key];
    if (!Array.isArray(value) || value.length !== length || !value.every((one) => choices.includes(one)))
      throw this.fail(key, `an array of ${length} strings, each ${choices.map((one) => `"${one}"`).join(" or ")},`);
    return value;
  }

  object(key: string): ConfigReader | undefined {
    if (!this.has(key)) return undefined;
    const value = this.value[key];
    if (typeof value !== "object" || Array.isArray(value)) throw this.fail(key, "an object");
    return new ConfigReader(value as Record<string, unknown>, `${this.path} (${key})`);
  }

  /** Like `object`, but undefined also for an object without fields. */
  filledObject(key: string): ConfigReader | undefined {
    const found = this.object(key);
    return found && Object.keys(found.value).length > 0 ? found : undefined;
  }

  /** A token id or a list of them; Hugging Face writes both. */
  ids(key: string): number[] {
    if (!this.has(key)) return [];
    const value = this.value[key];
    const list = Array.isArray(value) ? value : [value];
    const { maxTokenIds, maxVocabulary } = limits;
    if (list.length > maxTokenIds) throw this.fail(key, `at most ${maxTokenIds} token ids`);
    for (const id of list) {
      if (!Number.isSafeInteger(id) || id < 0 || id >= maxVocabulary)
        throw this.fail(key, `a token id from 0 to ${maxVocabulary - 1} or a list of them`);
    }
    return list.map((id) => id + 0); // a negative zero becomes 0
  }
}

/** Describes a value of a parsed document for messages, without nested values, which may be large or deep. */
function describeValue(value: unknown): string {
  if (value === undefined || value === null) return "nothing";
  if (Array.isArray(value)) return `an array of length ${value.length}`;
  if (typeof value === "object") return "an object";
  return typeof value === "string" ? quoted(value) : String(value);
}
