import type { Readable } from "node:stream";
import { oneLine, printable } from "../errors";
import { type Output, ProgressLine } from "./progress";

/** A stream that may be a terminal. */
type Input = Readable & { readonly isTTY?: boolean };

/** The streams of a command. */
export interface Streams {
  readonly stdin: Input;
  readonly stdout: Output;
  readonly stderr: Output;
  /** The environment: NO_COLOR. */
  readonly env: Readonly<Record<string, string | undefined>>;
}

const styles = { bold: "1", dim: "2", red: "31", green: "32", inverse: "7" } as const;

/**
 * Output of a command. Results go to stdout, everything else to stderr. Texts are escaped (see `printable`), so that text
 * from models, files or names cannot control the terminal.
 */
export class Terminal {
  readonly progress: ProgressLine;

  constructor(
    readonly streams: Streams,
    /** With --json stdout is JSON, for programs. */
    readonly json: boolean,
  ) {
    const { stderr, stdout } = streams;
    // With --json on a terminal the lines of events would mix with the progress line.
    this.progress = new ProgressLine(stderr, !json || (stderr.isTTY === true && stdout.isTTY !== true));
  }

  /** Columns of stdout. */
  get width(): number {
    return this.streams.stdout.columns ?? 100;
  }

  /** Writes a line of the result; nothing with --json. */
  print(line = ""): void {
    if (!this.json) this.write(`${oneLine(line)}\n`);
  }

  /** Writes a part of the result; nothing with --json. */
  write(text: string): void {
    if (this.json) return;
    this.progress.clear();
    this.streams.stdout.write(printable(text));
  }

  /** Writes a line of text that was already escaped and styled. */
  printStyled(line: string): void {
    if (this.json) return;
    this.progress.clear();
    this.streams.stdout.write(`${line}\n`);
  }

  /** With --json, writes a value as a line. */
  event(value: unknown): void {
    // Escapes control characters that JSON.stringify leaves unchanged.
    if (this.json) this.streams.stdout.write(`${printable(JSON.stringify(value))}\n`);
  }

  /** Writes a line to stderr. */
  note(line: string): void {
    this.progress.clear();
    this.streams.stderr.write(`${oneLine(line)}\n`);
  }

  /** Escapes a text and, if stdout is a terminal with colours, adds a style. */
  styled(text: string, style: keyof typeof styles): string {
    const { stdout, env } = this.streams;
    const coloured = stdout.isTTY === true && !env.NO_COLOR && env.TERM !== "dumb";
    return coloured ? `\u001b[${styles[style]}m${printable(text)}\u001b[0m` : printable(text);
  }
}
