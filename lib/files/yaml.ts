/** Reads YAML 1.2 with its core schema, in which 1e-3 is a number and "no" a text. */
import type * as yamlModule from "yaml";
import { oneLine, RubricateError, reasonOf } from "../errors";

/** Loaded when it is first used: it takes longer than the rest of a small command. */
const library = () => require("yaml") as typeof yamlModule;

/**
 * Parses a small document.
 * @param name of the file, for messages
 * @throws RubricateError ERR_JSON if it is malformed, has a key twice, several documents, unknown tags, or aliases that would become
 * far more than what is written
 */
export function parseYaml(text: string, name: string): unknown {
  const { LineCounter, parseDocument } = library();
  const lines = new LineCounter();
  const fault = (reason: string, cause?: unknown) =>
    new RubricateError("ERR_JSON", `Expected YAML in ${name}: ${oneLine(reason)}`, { cause });
  try {
    const options = {
      version: "1.2",
      schema: "core",
      prettyErrors: false,
      logLevel: "error",
      lineCounter: lines,
    } as const;
    const document = parseDocument(text, options);
    const [first] = [...document.errors, ...document.warnings];
    if (first) {
      const { line, col } = lines.linePos(first.pos[0]);
      throw fault(`${first.message} (line ${line}, column ${col})`, first);
    }
    return document.toJS({ maxAliasCount: 100 });
  } catch (error) {
    throw error instanceof RubricateError ? error : fault(reasonOf(error), error);
  }
}
