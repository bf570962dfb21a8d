import type { FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { RubricateError } from "../errors";
import { withFileErrors, writeInto } from "../files/atomic";
import { openLog } from "../files/log";
import { present, readPieces } from "../files/read";
import { throwIfAborted } from "../job";
import { limits } from "../limits";
import { inSlices, type Steps } from "../steps";
import type { TrainEvent } from "./events";
import type { LoggerName } from "./options";
import { TensorBoardLogger } from "./tensorboard";

/** Writes a run's events to a log. */
export interface RunLogger {
  /** @throws RubricateError ERR_FILE */
  write(event: TrainEvent): Promise<void>;
  close(): Promise<void>;
}

/** The position to which a log is rewound when a run resumes: events that the resumed run will report again are removed. */
export interface LogPosition {
  readonly step: number;
  /** Whether the log already has the evaluation after that step. */
  readonly evaluated: boolean;
}

export const logFile = "log.jsonl";

/** One event per line, with the time. Lines are appended; a line truncated by a crash is removed. */
class JsonLinesLogger implements RunLogger {
  private constructor(
    private readonly path: string,
    private readonly file: FileHandle,
  ) {}

  static async open(
    outputDir: string,
    position: LogPosition | undefined,
    signal: AbortSignal | undefined,
  ): Promise<JsonLinesLogger> {
    const path = join(outputDir, logFile);
    if (position) await rewind(outputDir, position, signal);
    return new JsonLinesLogger(path, await withFileErrors(path, () => openLog(path, position !== undefined)));
  }

  async write(event: TrainEvent): Promise<void> {
    const line = `${JSON.stringify({ time: new Date().toISOString(), ...event })}\n`;
    await withFileErrors(this.path, () => this.file.appendFile(line));
  }

  async close(): Promise<void> {
    await withFileErrors(this.path, () => this.file.close());
  }
}

/** Keeps the lines up to the position. The log may have any size, so it is copied in pieces. */
async function rewind(outputDir: string, position: LogPosition, signal: AbortSignal | undefined): Promise<void> {
  const path = join(outputDir, logFile);
  if (await present(path)) await writeInto(outputDir, [{ name: logFile, data: keptText(path, position, signal) }]);
}

const newline = 0x0a;
const [openObject, closeObject] = [0x7b, 0x7d];

/** The lines of a log to keep, in pieces of about the size of a read. */
async function* keptText(
  path: string,
  position: LogPosition,
  signal: AbortSignal | undefined,
): AsyncGenerator<Buffer, void, void> {
  const lines = new LogLines(path, position);
  for await (const piece of readPieces(path)) {
    throwIfAborted(signal);
    const kept = await inSlices(lines.take(piece));
    if (kept.length > 0) yield Buffer.concat(kept);
  }
  yield* lines.last();
}

/** Splits a log into lines and keeps those up to a position. */
class LogLines {
  /** The beginning of a line whose end has not been read yet. */
  private rest: Buffer = Buffer.alloc(0);
  private number = 1;

  constructor(
    private readonly path: string,
    private readonly position: LogPosition,
  ) {}

  /** @returns the lines to keep of those that end in the piece @throws RubricateError ERR_FILE if one is too long */
  *take(piece: Buffer): Steps<Buffer[]> {
    const bytes = Buffer.concat([this.rest, piece]);
    const kept: Buffer[] = [];
    let start = 0;
    for (let end = bytes.indexOf(newline); end >= 0; end = bytes.indexOf(newline, start)) {
      this.requireShort(end - start);
      if (staysAt(this.position, bytes.subarray(start, end))) kept.push(bytes.subarray(start, end + 1));
      this.number++;
      start = end + 1;
      yield;
    }
    this.rest = bytes.subarray(start);
    this.requireShort(this.rest.length);
    return kept;
  }

  /** The last line if it has no newline. A truncated one is not JSON. */
  *last(): Generator<Buffer, void, void> {
    if (staysAt(this.position, this.rest)) yield Buffer.concat([this.rest, Buffer.of(newline)]);
  }

  private requireShort(length: number): void {
    if (length > limits.logLineBytes)
      throw new RubricateError(
        "ERR_FILE",
        `Expected lines of at most ${limits.logLineBytes} bytes in ${this.path} but line ${this.number} is longer; ` +
          "no run wrote it: move the file away",
      );
  }
}

function staysAt({ step, evaluated }: LogPosition, line: Buffer): boolean {
  // Most lines that are not events are recognised without an exception, which costs as much as a hundred short lines.
  if (line[0] !== openObject || !line.subarray(-2).includes(closeObject)) return false;
  let event: Partial<Extract<TrainEvent, { step: number }>>;
  try {
    event = JSON.parse(line.toString("utf8"));
  } catch {
    return false;
  }
  if (event.step === undefined) return (event.type as string) !== "end";
  return event.step < step || (event.step === step && (event.type !== "eval" || evaluated));
}

/**
 * Opens the logs of a run, all of them or none.
 * @param position where to resume; undefined: a new run
 * @throws RubricateError ERR_FILE, ERR_ABORTED
 */
export async function openLoggers(
  names: readonly LoggerName[],
  outputDir: string,
  position: LogPosition | undefined,
  signal?: AbortSignal,
): Promise<RunLogger[]> {
  const loggers: RunLogger[] = [];
  try {
    for (const name of new Set(names))
      loggers.push(
        name === "jsonl"
          ? await JsonLinesLogger.open(outputDir, position, signal)
          : await TensorBoardLogger.open(outputDir),
      );
  } catch (error) {
    await closeLoggers(loggers).catch(() => {}); // the first error is the one to report
    throw error;
  }
  return loggers;
}

/** Closes all logs, even if one fails. @throws RubricateError ERR_FILE, the first one */
export async function closeLoggers(loggers: readonly RunLogger[]): Promise<void> {
  const closed = await Promise.allSettled(loggers.map((logger) => logger.close()));
  for (const result of closed) if (result.status === "rejected") throw result.reason;
}
