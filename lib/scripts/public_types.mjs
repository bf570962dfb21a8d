// Checks that public signatures mention only public types: a user cannot write the name of one that is not exported.
import { bodyOf, isHidden, statements } from "./declarations.mjs";

/** Types of TypeScript's own library that are not values of JavaScript. */
const libraryTypes = new Set(
  "ArrayLike Iterable AsyncIterable AsyncGenerator Record Readonly ReadonlyMap ReadonlySet Partial Required Omit Pick Exclude".split(
    " ",
  ),
);
/** The documents write the members of this interface out where it is extended. */
const writtenOut = "TrainingOptions";

const comment = /\/\*[\s\S]*?\*\//g;
const text = /"(?:\\.|[^"\\])*"/g;
/** `name: ` and `name?: `: a parameter or a member, not a type. */
const label = /\b\w+\??:/g;

/** A parameter of a generic type or function: `<Options extends object, Config extends object = Options>`. */
const typeParameter = /(?:<|, )([A-Z]\w*) extends /g;

/** The public parts of a declaration: its head, and its members that are not hidden. */
function* signatures(code) {
  if (!/^export (declare (abstract )?class|interface)\b/.test(code)) {
    yield code;
    return;
  }
  yield code.slice(0, code.indexOf("{"));
  for (const member of statements(bodyOf(code))) if (!isHidden(member)) yield member.code;
}

/**
 * @param declarations of all exports: [name, code]
 * @returns "NAME mentions TYPE" for each type that is neither exported nor a global one
 */
export function unexportedTypes(declarations) {
  const known = new Set([...declarations.map(([name]) => name), ...libraryTypes, writtenOut]);
  const found = new Set();
  for (const [name, code] of declarations) {
    const own = new Set([...code.matchAll(typeParameter)].map(([, parameter]) => parameter));
    for (const signature of signatures(code)) {
      const bare = signature.replace(comment, "").replace(text, "").replace(label, "");
      for (const [type] of bare.matchAll(/\b[A-Z]\w+\b/g))
        if (!known.has(type) && !own.has(type) && !(type in globalThis)) found.add(`${name} mentions ${type}`);
    }
  }
  return [...found];
}
