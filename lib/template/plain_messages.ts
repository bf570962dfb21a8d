import { types } from "node:util";
import { invalid, RubricateError } from "../errors";
import { fieldNames, JsonNumber, keepOrder, setField } from "../files/exact_values";
import { limits } from "../limits";

/** Values of messages and tools, all levels counted, characters of their strings, and of the names of their fields. */
export interface ConversationSize {
  readonly values: number;
  readonly characters: number;
  readonly nameCharacters: number;
}

export const nestingLevels = `${limits.rowNesting} levels of arrays and objects`;

/** The error of more than fits. */
export function tooMuch(limit: string): RubricateError {
  return new RubricateError("ERR_ARGUMENT", `Expected at most ${limit} in messages and tools but received more`);
}

/**
 * Copies what callers pass to chat templates as plain data, as `JSON.stringify` sees it: own enumerable fields, `toJSON` where
 * there is one, without functions, symbols and undefined. Each getter is read once. So a template sees the same on the event
 * loop and in a thread, which gets the copy as JSON, and every check sees what the template will see.
 */
export class PlainCopy {
  private characters: number;
  private nameCharacters: number;
  private left: number;

  /**
   * @param values all that it may copy, parts of parts counted
   * @param mostCharacters of strings; of names, as many
   */
  constructor(
    private readonly values: number,
    private readonly mostCharacters: number,
  ) {
    this.left = values;
    this.characters = mostCharacters;
    this.nameCharacters = mostCharacters;
  }

  /** What was copied. */
  get size(): ConversationSize {
    return {
      values: this.values - this.left,
      characters: this.mostCharacters - this.characters,
      nameCharacters: this.mostCharacters - this.nameCharacters,
    };
  }

  /**
   * @param name of the argument, for messages
   * @returns undefined for what JSON omits
   * @throws RubricateError ERR_ARGUMENT where there is too much, or a bigint; also what getters throw
   */
  of(given: unknown, name: string, levels: number): unknown {
    if (--this.left < 0) throw this.tooManyValues();
    if (typeof given === "string") return this.text(given);
    if (typeof given !== "object" || given === null) return primitive(given, name);
    if (given instanceof JsonNumber) return given;
    if (levels <= 0) throw tooMuch(nestingLevels);
    this.requireRoom(given);
    const value = jsonValue(given);
    if (value !== given) return this.of(value, name, levels - 1);
    return Array.isArray(value) ? this.array(value, name, levels) : this.record(value, name, levels);
  }

  private text(value: string): string {
    this.characters -= value.length;
    if (this.characters < 0) throw tooMuch(`${this.mostCharacters} characters`);
    return value;
  }

  /** The elements of arrays and views are counted before any of them is read. A view's names take longest. */
  private requireRoom(value: object): void {
    const length = Array.isArray(value) || types.isTypedArray(value) ? value.length : 0;
    if (length > this.left) throw this.tooManyValues();
  }

  private array(value: readonly unknown[], name: string, levels: number): unknown[] {
    this.requireRoom(value);
    const copy: unknown[] = [];
    for (let at = 0, { length } = value; at < length; at++) copy.push(this.of(value[at], name, levels - 1) ?? null);
    return copy;
  }

  private record(value: object, name: string, levels: number): Record<string, unknown> {
    const fields = fieldNames(value);
    if (fields.length > this.left) throw this.tooManyValues();
    const copy: Record<string, unknown> = {};
    for (const field of fields) {
      this.nameCharacters -= field.length;
      if (this.nameCharacters < 0) throw tooMuch(`${this.mostCharacters} characters of names`);
      const part = this.of((value as Record<string, unknown>)[field], name, levels - 1);
      if (part !== undefined) setField(copy, field, part);
    }
    keepOrder(copy, fields);
    return copy;
  }

  private tooManyValues(): RubricateError {
    return tooMuch(`${this.values} values`);
  }
}

function primitive(value: unknown, name: string): unknown {
  if (typeof value === "number") return Number.isFinite(value) ? value + 0 : null; // JSON has no -0
  if (typeof value === "bigint") throw invalid(name, "JSON data", value);
  return typeof value === "function" || typeof value === "symbol" ? undefined : value;
}

/** What JSON has in the place of an object. */
function jsonValue(value: object): unknown {
  if (types.isBoxedPrimitive(value)) return (value as { valueOf(): unknown }).valueOf();
  if (types.isTypedArray(value)) return value; // toJSON of a Buffer is its own, and slow
  const { toJSON } = value as { toJSON?: unknown };
  return typeof toJSON === "function" ? toJSON.call(value, "") : value;
}
