import type { FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { reported, writeInto } from "../files/atomic";
import { openLog } from "../files/log";
import { openRegular, present } from "../files/read";
import type { TrainEvent } from "./events";
import type { LoggerName } from "./options";
import { TensorBoardLogger } from "./tensorboard";

/** Keeps a run's events. */
export interface RunLogger {
  /** @throws RubricateError ERR_FILE */
  write(event: TrainEvent): Promise<void>;
  close(): Promise<void>;
}

/** Where a log has to stand for a run to go on: what the continuation will tell again goes. */
export interface LogPosition {
  readonly step: number;
  /** Whether the evaluation after that step is told already. */
  readonly evaluated: boolean;
}

export const logFile = "log.jsonl";

/** One event a line, with the time. Lines are appended; of a line cut off by a crash nothing stays. */
class JsonLinesLogger implements RunLogger {
  private constructor(
    private readonly path: string,
    private readonly file: FileHandle,
  ) {}

  static async open(outputDir: string, position: LogPosition | undefined): Promise<JsonLinesLogger> {
    const path = join(outputDir, logFile);
    if (position) await rewind(outputDir, position);
    return new JsonLinesLogger(path, await reported(path, () => openLog(path, position !== undefined)));
  }

  async write(event: TrainEvent): Promise<void> {
    const line = `${JSON.stringify({ time: new Date().toISOString(), ...event })}\n`;
    await reported(this.path, () => this.file.appendFile(line));
  }

  async close(): Promise<void> {
    await reported(this.path, () => this.file.close());
  }
}

/** Leaves the lines up to the position. */
async function rewind(outputDir: string, position: LogPosition): Promise<void> {
  const path = join(outputDir, logFile);
  if (!(await present(path))) return;
  const kept: string[] = [];
  const { file } = await openRegular(path);
  const read = async () => {
    const lines = createInterface({ input: file.createReadStream(), crlfDelay: Number.POSITIVE_INFINITY });
    for await (const line of lines) if (staysAt(position, line)) kept.push(`${line}\n`);
  };
  await reported(path, read, "Cannot read");
  await writeInto(outputDir, [{ name: logFile, data: kept.map((line) => Buffer.from(line)) }]);
}

function staysAt({ step, evaluated }: LogPosition, line: string): boolean {
  let event: Partial<Extract<TrainEvent, { step: number }>> | null;
  try {
    event = JSON.parse(line);
  } catch {
    return false;
  }
  if (typeof event !== "object" || event === null) return false;
  if (event.step === undefined) return (event.type as string) !== "end";
  return event.step < step || (event.step === step && (event.type !== "eval" || evaluated));
}

/**
 * Opens the logs of a run, all of them or none.
 * @param position where to go on; undefined: a new run
 * @throws RubricateError ERR_FILE
 */
export async function openLoggers(
  names: readonly LoggerName[],
  outputDir: string,
  position: LogPosition | undefined,
): Promise<RunLogger[]> {
  const loggers: RunLogger[] = [];
  try {
    for (const name of new Set(names))
      loggers.push(
        name === "jsonl" ? await JsonLinesLogger.open(outputDir, position) : await TensorBoardLogger.open(outputDir),
      );
  } catch (error) {
    await closeLoggers(loggers).catch(() => {}); // the first error is the one to report
    throw error;
  }
  return loggers;
}

/** Closes all of them, also where one fails. @throws RubricateError ERR_FILE, the first */
export async function closeLoggers(loggers: readonly RunLogger[]): Promise<void> {
  const closed = await Promise.allSettled(loggers.map((logger) => logger.close()));
  for (const result of closed) if (result.status === "rejected") throw result.reason;
}
