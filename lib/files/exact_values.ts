/** What a JavaScript value cannot say of the JSON it came from. */

/** A number as JSON spells it. */
export class JsonNumber {
  constructor(readonly spelling: string) {}

  /** An int of any size, or a float, as Python's json reads it. */
  get value(): bigint | number {
    return /[.eE]/.test(this.spelling) ? Number(this.spelling) : BigInt(this.spelling);
  }
}

const orders = new WeakMap<object, readonly string[]>();

/** Sets an own field, of the name `__proto__`, too. */
export function setField(record: Record<string, unknown>, name: string, value: unknown): void {
  if (name !== "__proto__") record[name] = value;
  else Object.defineProperty(record, name, { value, enumerable: true, configurable: true, writable: true });
}

/** Keeps the order of an object's fields where JavaScript has another. */
export function keepOrder(record: object, names: readonly string[]): void {
  const own = Object.keys(record);
  if (own.some((name, at) => name !== names[at]))
    orders.set(
      record,
      names.filter((name) => Object.hasOwn(record, name)),
    );
}

/** Names of an object's fields, in the order of the JSON it came from. */
export function fieldNames(record: object): readonly string[] {
  return orders.get(record) ?? Object.keys(record);
}
