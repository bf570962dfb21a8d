/** Formats text and numbers for people. */
import { oneLine } from "../errors";

const wide =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{20000}-\u{3fffd}]|\p{Emoji_Presentation}/u;
const empty = /[\p{Mn}\p{Me}\u200b-\u200f\ufeff]/u;

/** Width of a character on a terminal, in columns. */
function widthOf(character: string): number {
  if (empty.test(character)) return 0;
  return wide.test(character) ? 2 : 1;
}

/** Width of a text on a terminal, in columns. */
export function textWidth(text: string): number {
  let width = 0;
  for (const character of text) width += widthOf(character);
  return width;
}

/** The beginning of a text that fits into a number of columns. */
export function clipped(text: string, columns: number): string {
  let width = 0;
  let result = "";
  for (const character of text) {
    width += widthOf(character);
    if (width > columns) break;
    result += character;
  }
  return result;
}

/** Pads a text with spaces to a number of columns. */
export function padded(text: string, columns: number): string {
  return text + " ".repeat(Math.max(0, columns - textWidth(text)));
}

/** Wraps a text to a number of columns, at spaces if possible. */
export function lines(text: string, columns: number): string[] {
  const result: string[] = [];
  for (const paragraph of text.split("\n")) {
    const first = result.length;
    let line = "";
    for (let word of paragraph.split(" ")) {
      if (line !== "" && textWidth(line) + 1 + textWidth(word) > columns) {
        result.push(line);
        line = "";
      }
      while (textWidth(word) > columns) {
        const part = clipped(word, columns) || word;
        result.push(part);
        word = word.slice(part.length);
      }
      line = line === "" ? word : `${line} ${word}`;
    }
    if (line !== "" || result.length === first) result.push(line);
  }
  return result;
}

/** "1:02:03" or "2:03". */
export function duration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const two = (value: number) => String(value).padStart(2, "0");
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes}:${two(whole % 60)}`;
  return `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(whole % 60)}`;
}

/** "12,345". */
export function count(value: number): string {
  return Math.round(value).toLocaleString("en-US");
}

/** "1.5 MiB". */
export function bytes(value: number): string {
  if (value < 1024) return `${value} bytes`;
  const units = ["KiB", "MiB", "GiB", "TiB"];
  let size = value / 1024;
  let unit = 0;
  while (size >= 1024 && unit < units.length - 1) {
    size /= 1024;
    unit++;
  }
  return `${size.toFixed(size < 10 ? 1 : 0)} ${units[unit]}`;
}

/** "1 row", "2 rows". */
export function plural(number: number, noun: string): string {
  return `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
}

/**
 * Quotes an argument for a POSIX shell. With characters that a terminal does not show as they are, it is written in
 * dollar-single-quotes (POSIX.1-2024; bash, zsh, ksh).
 */
export function shellQuoted(argument: string): string {
  if (/^[\w@%+=:,./-]+$/.test(argument)) return argument;
  if (oneLine(argument) === argument && !argument.includes("\t")) return `'${argument.replaceAll("'", "'\\''")}'`;
  const octal = (bytes: Buffer) => [...bytes].map((byte) => `\\${byte.toString(8).padStart(3, "0")}`).join("");
  const words = [...argument].map((one) => (/[^\P{ASCII}\p{Cc}'\\]/u.test(one) ? one : octal(Buffer.from(one))));
  return `$'${words.join("")}'`;
}

/** A table: the first column to the left, the others to the right. */
export function table(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => textWidth(row[column] ?? ""))));
  return rows.map((row) =>
    row
      .map((cell, column) =>
        column === 0 ? padded(cell, widths[0]!) : " ".repeat(widths[column]! - textWidth(cell)) + cell,
      )
      .join("  ")
      .trimEnd(),
  );
}
