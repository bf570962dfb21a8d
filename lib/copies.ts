/**
 * Several copies of this package in one process: two versions of two dependencies, a bundled and an installed one, a test
 * runner's module registries. Each has classes and an addon of its own. Marks under symbols that all copies share tell whose
 * an object is; other copies may be of other versions, so a mark's meaning never changes.
 */

const copyMark = Symbol.for("rubricate.copy");
const errorMark = Symbol.for("rubricate.RubricateError");
const thisCopy = Symbol("rubricate");

type Class = { readonly prototype: object };

function markOf(value: unknown, mark: symbol): unknown {
  try {
    return typeof value === "object" && value !== null ? (value as Record<symbol, unknown>)[mark] : undefined;
  } catch {
    return undefined; // a revoked proxy, or one that throws
  }
}

/** Marks the objects of a public class as those of this copy. */
export function markCopy(Marked: Class): void {
  Object.defineProperty(Marked.prototype, copyMark, { value: thisCopy });
}

/** Whether an object is of a public class of another copy. */
export function isOfAnotherCopy(value: object): boolean {
  const mark = markOf(value, copyMark);
  return mark !== undefined && mark !== thisCopy;
}

/** `instanceof` of the class of errors holds for the errors of every copy; its subclasses are ordinary. */
export function shareErrorClass(Shared: Class): void {
  Object.defineProperty(Shared.prototype, errorMark, { value: true });
  Object.defineProperty(Shared, Symbol.hasInstance, {
    value(this: unknown, value: unknown): boolean {
      if (this === Shared) return markOf(value, errorMark) === true;
      return Function.prototype[Symbol.hasInstance].call(this as () => void, value);
    },
  });
}
