/** Rows as inputs with the answers that are expected, in place of token ids: for scores of generated texts. */
import { RubricateError } from "../errors";
import { limits } from "../limits";
import type { ChatMessage } from "../template/chat_messages";
import { isBlank, scanLines } from "./line_scanner";
import { formatOfFile, rowFormatOf } from "./row_format";
import { fileSource } from "./row_index";
import { RowReports } from "./row_reports";
import { type DataFormat, type Row, readRow, UnusableRow } from "./rows";
import type { ReasonReport } from "./types";

/** What a model is asked: a text to continue, or a conversation to answer. */
export type Input = { readonly prompt: string } | { readonly messages: readonly ChatMessage[] };

/** An input, and the answers of all rows that have it. */
export interface AnsweredInput {
  readonly input: Input;
  /** Answers without whitespace at their ends, in the order of their rows. */
  readonly references: string[];
  /** Line of the first row, 1-based. */
  readonly line: number;
}

export interface AnsweredInputs {
  /** In the order of their first rows. */
  readonly inputs: readonly AnsweredInput[];
  /** Rows that are no input with an answer, by reasons. */
  readonly skipped: number;
  readonly reasons: readonly ReasonReport[];
}

function answered(row: Row): { input: Input; answer: string } {
  if (row.kind === "text") throw new UnusableRow("it is a text, without a prompt to answer");
  if (row.kind === "prompt") return { input: { prompt: row.prompt }, answer: row.completion };
  if (row.tools !== undefined) throw new UnusableRow('it has "tools", which generation does not take');
  const last = row.messages.at(-1)!;
  const messages = row.messages.slice(0, -1);
  if (last.role !== "assistant" || typeof last.content !== "string")
    throw new UnusableRow("its last message is not a text of the assistant");
  if (messages.length === 0) throw new UnusableRow("it has no message before the assistant's");
  return { input: { messages }, answer: last.content };
}

/**
 * Reads a data file (JSONL, a JSON array or CSV, by its name). Rows with the same input are one input with several references.
 * @param asChat whether Alpaca's rows are conversations, because there is a chat template
 * @param strict whether the first row that cannot be used is an error
 * @throws RubricateError ERR_DATA if no row can be used, ERR_FILE
 */
export function readAnswers(path: string, format: DataFormat, asChat: boolean, strict: boolean): AnsweredInputs {
  const source = fileSource(path);
  const reports = new RowReports();
  const inputs = new Map<string, AnsweredInput>();
  try {
    const rows = rowFormatOf(formatOfFile(path, source), source);
    for (const { bytes, number } of rows.scan(() => {})) {
      try {
        if (!bytes) throw new UnusableRow(`the line is longer than ${limits.lineBytes} bytes`);
        if (isBlank(bytes)) continue;
        const { input, answer } = answered(readRow(rows.value(bytes), format, asChat));
        const key = JSON.stringify(input);
        const known = inputs.get(key);
        if (known) known.references.push(answer.trim());
        else inputs.set(key, { input, references: [answer.trim()], line: number });
      } catch (error) {
        if (!(error instanceof UnusableRow)) throw error;
        if (strict) throw new RubricateError("ERR_DATA", `${path}: line ${number} cannot be used: ${error.message}`);
        reports.add(number, "skipped", error.message);
      }
    }
  } finally {
    source.close();
  }
  const { skipped } = reports.counts;
  const [first] = reports.first;
  if (inputs.size === 0)
    throw new RubricateError(
      "ERR_DATA",
      first === undefined
        ? `${path} holds no rows`
        : `${path}: none of ${skipped} rows can be used; line ${first.line}: ${first.reason}`,
    );
  return { inputs: [...inputs.values()], skipped, reasons: reports.reasons };
}

/** The lines of a text file without whitespace at their ends; empty ones too. @throws RubricateError ERR_FILE */
export function readTextLines(path: string): string[] {
  const source = fileSource(path);
  const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  const lines: string[] = [];
  try {
    for (const { bytes, number } of scanLines((into, offset) => source.read(into, offset), limits.lineBytes)) {
      if (!bytes)
        throw new RubricateError("ERR_FILE", `${path}: line ${number} is longer than ${limits.lineBytes} bytes`);
      try {
        lines.push(utf8.decode(bytes).trim());
      } catch (cause) {
        throw new RubricateError("ERR_FILE", `Expected UTF-8 in ${path} but line ${number} has other bytes`, { cause });
      }
    }
  } finally {
    source.close();
  }
  return lines;
}
