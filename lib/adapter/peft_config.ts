/** Reading the fields of PEFT's adapter_config.json: one that changes the mathematics is computed or refused by name. */
import { formatJson, RubricateError } from "../errors";
import { isObject, type JsonObject } from "../files/json";

/** Whether a field's value leaves it off. */
function isNeutral(value: unknown): boolean {
  if (value === null || value === false) return true;
  if (Array.isArray(value)) return value.length === 0;
  return isObject(value) && Object.keys(value).length === 0;
}

/** The fields of a document. All methods throw RubricateError ERR_ADAPTER_FORMAT naming the field and the value. */
export class PeftFields {
  /** @param path for messages */
  constructor(
    private readonly document: JsonObject,
    private readonly path: string,
  ) {}

  take<T>(name: string, what: string, holds: (value: unknown) => value is T): T {
    const value = this.document[name];
    if (holds(value)) return value;
    throw this.wrong(name, what);
  }

  /** @param read returns undefined for a value that is not `what` */
  read<T>(name: string, what: string, read: (value: unknown) => T | undefined): T {
    const value = read(this.document[name]);
    if (value === undefined) throw this.wrong(name, what);
    return value;
  }

  /** The error for the value of a field. */
  wrong(name: string, what: string): RubricateError {
    return new RubricateError(
      "ERR_ADAPTER_FORMAT",
      `Expected ${what} for ${name} in ${this.path} but received ${formatJson(this.document[name])}`,
    );
  }

  takeOneOf(name: string, what: string, values: readonly unknown[]): unknown {
    return this.take(name, what, (value): value is unknown => values.includes(value));
  }

  /**
   * Refuses each field that is on, other than these.
   * @param known fields that are read
   * @param ignored fields that change nothing in what a trained adapter computes
   */
  requireNoOther(known: ReadonlySet<string>, ignored: ReadonlySet<string>): void {
    for (const [name, value] of Object.entries(this.document))
      if (!ignored.has(name) && !known.has(name) && !isNeutral(value))
        throw new RubricateError(
          "ERR_ADAPTER_FORMAT",
          `Expected no ${name} in ${this.path} but received ${formatJson(value)}: an adapter with it cannot be computed here`,
        );
  }
}
