// Parses declarations written by the TypeScript compiler, for the documents and for dist/: TypeScript 7 has no
// JavaScript interface.
import { join } from "node:path";

/** End of a string literal or comment that begins at `at`; `at` if there is none. */
function skipLiteral(text, at) {
  const comment = /\/\*[\s\S]*?\*\/|\/\/[^\n]*/y;
  const literal = /"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`(?:\\.|[^`\\])*`/y;
  for (const pattern of [comment, literal]) {
    pattern.lastIndex = at;
    if (pattern.test(text)) return pattern.lastIndex;
  }
  return at;
}

/** Declarations or members in a text written by the compiler, each with the doc comment before it. */
export function* statements(text) {
  let at = 0;
  let doc = "";
  while (at < text.length) {
    const blank = /\s*/y;
    blank.lastIndex = at;
    blank.test(text);
    at = blank.lastIndex;
    if (at >= text.length) return;
    if (text.startsWith("/*", at) || text.startsWith("//", at)) {
      const end = skipLiteral(text, at);
      doc = text.startsWith("/**", at) ? text.slice(at + 3, end - 2) : doc;
      at = end;
      continue;
    }
    const begin = at;
    for (let depth = 0; at < text.length; ) {
      const after = skipLiteral(text, at);
      if (after > at) {
        at = after;
        continue;
      }
      const character = text[at++];
      if ("{([".includes(character)) depth++;
      if ("})]".includes(character)) depth--;
      const block =
        character === "}" && /^(export )?(declare )?((abstract )?class|interface)\b/.test(text.slice(begin, at));
      if (depth === 0 && (character === ";" || block)) break;
    }
    yield { doc, code: text.slice(begin, at).replace(/;$/, "") };
    doc = "";
  }
}

export const nameOf = (code) =>
  /^export (?:declare )?(?:abstract )?(?:class|interface|type|const|function) (\w+)/.exec(code)?.[1];

/** Whether a member is not public. */
export const isHidden = ({ doc, code }) => /^(private|protected)\b/.test(code) || /@internal/.test(doc);

/** The text between the outermost braces. */
export const bodyOf = (code) => code.slice(code.indexOf("{") + 1, code.lastIndexOf("}"));

/** Type arguments, of the text after their opening bracket. */
function* typeArguments(text) {
  let begin = 0;
  for (let at = 0, depth = 0; depth >= 0 && at < text.length; at++) {
    at = skipLiteral(text, at);
    if ("{([<".includes(text[at])) depth++;
    if ("})]>".includes(text[at])) depth--;
    if (depth < 0 || (depth === 0 && text[at] === ",")) {
      yield text.slice(begin, at).trim();
      begin = at + 1;
    }
  }
}

/** Typed arrays without type arguments, which TypeScript has only from 5.7 on; there the argument has a default. */
export const withPlainArrays = (text) =>
  text.replace(/\b((?:Big)?(?:Int|Uint|Float)\d+(?:Clamped)?Array|DataView|Buffer)<ArrayBuffer(?:Like)?>/g, "$1");

/** The declarations of the table of options, below the folder of all declarations. */
export const optionsFile = join("train", "option_table.d.ts");

/**
 * The same declarations with `TrainingOptions` written out as an interface. It is a type mapped from the table, and editors
 * with TypeScript 7.0 do not show the doc comments of its members.
 */
export function withPlainOptions(text) {
  const all = [...statements(text)];
  const table = all.find(({ code }) => nameOf(code) === "trainingOptions");
  const mapped = all.find(({ code }) => nameOf(code) === "TrainingOptions");
  const members = [...statements(bodyOf(table.code))].map(({ doc, code }) => {
    const [, name] = /^(\w+): Option</.exec(code);
    const [type] = typeArguments(code.slice(code.indexOf("<") + 1));
    return `    /**${doc}*/\n    readonly ${name}?: ${type};\n`;
  });
  return text.replace(`${mapped.code};`, () => `export interface TrainingOptions {\n${members.join("")}}`);
}
