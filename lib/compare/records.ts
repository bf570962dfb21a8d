/** Records of finished runs in the output folder, so that a comparison resumes and runs nothing twice. */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { formatJson, RubricateError } from "../errors";
import { writeInto } from "../files/atomic";
import { isObject, readJson } from "../files/json";
import { present } from "../files/read";
import type { Training } from "./plan";

/** Why a run has no result. */
export interface Failure {
  /** Of its error; null after a crash. */
  readonly code: string | null;
  readonly reason: string;
}

/** What differs between two runs of the same command. */
export interface Measured {
  readonly seconds: number;
  /** Peak resident memory of its process. */
  readonly peakMib: number;
}

export interface TrainingResult {
  /** Trained numbers. */
  readonly parameters: number;
  /** Of the tensors that were saved. */
  readonly bytes: number;
  readonly steps: number;
  readonly trainLoss: number;
  /** On the dev part, of the parameters that were saved. */
  readonly devLoss: number;
  /** SHA-256 of its batches, see `TrainSummary.batches`. */
  readonly batches: string;
  readonly trainRows: number;
  readonly devRows: number;
  /** Rows of the data that cannot be used. */
  readonly skippedRows: number;
  /** What the run said to people, such as that its loss has risen. */
  readonly notices: readonly string[];
}

export type TrainingRecord =
  | { readonly result: TrainingResult; readonly measured: Measured & { readonly tokensPerSecond: number } }
  | { readonly failure: Failure };

/** Scores on the test file, by name. */
export type TestRecord =
  | {
      readonly scores: Readonly<Record<string, number>>;
      /** How much was read: supervised tokens, or inputs and references, and rows skipped and truncated. */
      readonly read: Readonly<Record<string, number>>;
      readonly measured: Measured;
    }
  | { readonly failure: Failure };

/** What all runs of a comparison share, by name: options as flags, files and machine as hashes and texts. */
export type Shared = Readonly<Record<string, string>>;

export const comparisonFile = "comparison.json";
const runsFolder = "runs";
const format = 1;

export const isFailed = (record: object): record is { readonly failure: Failure } => "failure" in record;

/** Whether the run would fail again. Others, such as one that was killed, are tried again by the next command. */
export function failsAgain(record: TrainingRecord | TestRecord): boolean {
  return isFailed(record) && record.failure.code === "ERR_NOT_FINITE";
}

/** The records of an output folder. */
export class Records {
  private readonly hash: string;

  constructor(
    private readonly out: string,
    private readonly shared: Shared,
  ) {
    this.hash = createHash("sha256").update(JSON.stringify(shared)).digest("hex");
  }

  /**
   * Makes the folder this comparison's.
   * @throws RubricateError ERR_CHECKPOINT if it is that of another one, naming the first difference; ERR_FILE
   */
  async claim(): Promise<void> {
    const path = join(this.out, comparisonFile);
    if (await present(path)) {
      const document = await readJson(path, "ERR_CHECKPOINT");
      if (!isObject(document) || document.format !== format || !isObject(document.shared))
        throw new RubricateError("ERR_CHECKPOINT", `Expected a comparison of this version in ${path}`);
      requireSame(this.out, document.shared, this.shared);
      return;
    }
    const text = `${JSON.stringify({ format, shared: this.shared }, null, 2)}\n`;
    await writeInto(this.out, [{ name: comparisonFile, data: text }]);
  }

  /** @returns undefined if the run has none */
  readTraining(name: string, training: Training): Promise<TrainingRecord | undefined> {
    return this.read<TrainingRecord>(name, { ...identityOf(training) });
  }

  writeTraining(name: string, training: Training, record: TrainingRecord): Promise<void> {
    return this.write(name, identityOf(training), record);
  }

  readTest(name: string, training: Training | undefined): Promise<TestRecord | undefined> {
    return this.read<TestRecord>(name, identityOf(training));
  }

  writeTest(name: string, training: Training | undefined, record: TestRecord): Promise<void> {
    return this.write(name, identityOf(training), record);
  }

  private async read<T>(name: string, run: object): Promise<T | undefined> {
    const path = join(this.out, runsFolder, `${name}.json`);
    if (!(await present(path))) return undefined;
    const document = await readJson(path, "ERR_CHECKPOINT");
    const fits =
      isObject(document) &&
      document.format === format &&
      document.comparison === this.hash &&
      JSON.stringify(document.run) === JSON.stringify(run) &&
      isObject(document.record);
    if (!fits)
      throw new RubricateError(
        "ERR_CHECKPOINT",
        `Expected the record of a run of this comparison in ${path} but it is another one's, made with other options or files; ` +
          "remove it, and the run is made again",
      );
    return document.record as T;
  }

  private write(name: string, run: object, record: object): Promise<void> {
    const text = `${JSON.stringify({ format, comparison: this.hash, run, record }, null, 2)}\n`;
    return writeInto(join(this.out, runsFolder), [{ name: `${name}.json`, data: text }]);
  }
}

function identityOf(training: Training | undefined): object {
  if (training === undefined) return { method: null };
  const { method, rate, seed } = training;
  return { method: method.label, flags: method.words, learningRate: rate, seed };
}

/** @throws RubricateError ERR_CHECKPOINT naming the first difference */
function requireSame(out: string, before: Readonly<Record<string, unknown>>, now: Shared): void {
  for (const name of [...Object.keys(now), ...Object.keys(before)]) {
    const [was, is] = [before[name], now[name]];
    if (was === is) continue;
    const text = (value: unknown) => (value === undefined ? "none" : formatJson(value));
    throw new RubricateError(
      "ERR_CHECKPOINT",
      `Expected the comparison in ${out} to be resumed as it was begun but ${name} is ${text(is)} now and was ${text(was)}: ` +
        "its runs cannot be mixed with others; give another folder",
    );
  }
}
