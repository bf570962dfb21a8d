import { RubricateError } from "../errors";

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

  fail(key: string, expected: string): RubricateError {
    const received = this.has(key) ? JSON.stringify(this.value[key]).slice(0, 80) : "nothing";
    return new RubricateError("ERR_CONFIG", `Expected ${expected} for ${key} in ${this.path} but received ${received}`);
  }

  integer(key: string, least: number, fallback?: number): number {
    if (!this.has(key) && fallback !== undefined) return fallback;
    const value = this.value[key];
    if (typeof value !== "number" || !Number.isSafeInteger(value) || value < least) {
      throw this.fail(key, `an integer of at least ${least}`);
    }
    return value;
  }

  positive(key: string, fallback?: number): number {
    if (!this.has(key) && fallback !== undefined) return fallback;
    const value = this.value[key];
    if (typeof value !== "number" || !Number.isFinite(value) || value <= 0) throw this.fail(key, "a positive number");
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

  object(key: string): ConfigReader | undefined {
    if (!this.has(key)) return undefined;
    const value = this.value[key];
    if (typeof value !== "object" || Array.isArray(value)) throw this.fail(key, "an object");
    return new ConfigReader(value as Record<string, unknown>, `${this.path} (${key})`);
  }

  /** A token id, or several: Hugging Face writes both. */
  ids(key: string): number[] {
    if (!this.has(key)) return [];
    const value = this.value[key];
    const list = Array.isArray(value) ? value : [value];
    for (const id of list) {
      if (typeof id !== "number" || !Number.isSafeInteger(id) || id < 0)
        throw this.fail(key, "a token id or a list of them");
    }
    return list as number[];
  }
}
