/** Makes the runs of a comparison that have no record yet, each in a process of its own. */
import { rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { RubricateError } from "../errors";
import { withFileErrors } from "../files/atomic";
import type { JsonObject } from "../files/json";
import { entriesOf } from "../files/operations";
import { present } from "../files/read";
import { knownCode, type Launch, reasonOfEnd } from "./child";
import { type Training, trainingName } from "./plan";
import {
  type Failure,
  failsAgain,
  isFailed,
  type Measured,
  type Records,
  type TestRecord,
  type TrainingRecord,
} from "./records";

/** What is evaluated: the base alone, or with what a run has trained: an adapter, or a model in its place. */
export type Subject = { readonly folder: string; readonly isModel: boolean } | undefined;

/** The command lines of the runs, without the program. */
export interface Commands {
  train(training: Training, folder: string): string[];
  test(subject: Subject): string[];
  /** An evaluation of the base by the loss, whose memory trainings are compared with; undefined: `test` is one. */
  readonly memory: readonly string[] | undefined;
}

/** Told while a run is made: how far it is, from 0 to 1, and what it does. */
export type OnStep = (share: number, words: string) => void;

const trainedFolder = "trained";
/** Of a run that are kept. */
const mostNotices = 10;

const numberOf = (event: JsonObject | undefined, name: string) => event?.[name] as number;

export class Runs {
  private readonly launch: Launch;
  /** Processes that were started: none for a run that has a record. */
  launched = 0;

  constructor(
    private readonly out: string,
    private readonly records: Records,
    private readonly commands: Commands,
    launch: Launch,
    private readonly signal: AbortSignal,
  ) {
    this.launch = (request) => {
      this.launched++;
      return launch(request);
    };
  }

  /** Where a training saves what it has trained. */
  folderOf(training: Training): string {
    return join(this.out, trainedFolder, trainingName(training));
  }

  /**
   * The record of a training, which is made if there is none.
   * @param needsResult whether what it has trained must be there, not the record alone
   * @throws RubricateError ERR_ABORTED, ERR_FILE, ERR_CHECKPOINT
   */
  async training(training: Training, needsResult: boolean, onStep: OnStep): Promise<TrainingRecord> {
    const name = `train-${trainingName(training)}`;
    const found = await this.records.readTraining(name, training);
    const folder = this.folderOf(training);
    if (found && isFailed(found) ? failsAgain(found) : found && (!needsResult || (await hasTensors(folder))))
      return found!;
    await this.forget(training);
    const record = await this.train(training, folder, onStep);
    if (isFailed(record)) await this.forget(training);
    await this.records.writeTraining(name, training, record);
    return record;
  }

  /** Removes what a training has trained. @throws RubricateError ERR_FILE */
  async forget(training: Training): Promise<void> {
    const folder = this.folderOf(training);
    await withFileErrors(folder, () => rm(folder, { recursive: true, force: true }), "Cannot remove");
  }

  private async train(training: Training, folder: string, onStep: OnStep): Promise<TrainingRecord> {
    let start: JsonObject | undefined;
    let end: JsonObject | undefined;
    const notices: string[] = [];
    const ended = await this.launch({
      words: this.commands.train(training, folder),
      signal: this.signal,
      onEvent(event) {
        if (event.type === "start") start = event;
        if (event.type === "end") end = event;
        if (event.type === "notice" && notices.length < mostNotices) notices.push(String(event.message));
        if (event.type !== "step") return;
        const [step, total] = [numberOf(event, "step"), numberOf(event, "totalSteps")];
        onStep(step / total, `step ${step}/${total}, loss ${numberOf(event, "loss").toFixed(4)}`);
      },
    });
    if (ended.status !== 0 || !start || !end) return { failure: failureOf(ended) };
    return {
      result: {
        parameters: numberOf(start, "trainableParameters"),
        bytes: await bytesOfTensors(folder),
        steps: numberOf(end, "steps"),
        trainLoss: numberOf(end, "trainLoss"),
        devLoss: numberOf(end, "evalLoss"),
        batches: String(end.batches),
        trainRows: numberOf(start, "trainRows"),
        devRows: numberOf(start, "evalRows"),
        skippedRows: numberOf(start, "skippedRows"),
        notices,
      },
      measured: { ...measuredIn(end, numberOf(end, "seconds")), tokensPerSecond: numberOf(end, "tokensPerSecond") },
    };
  }

  /**
   * The scores on the test file of what a training has trained; without one, of the base alone. Made if there is no record: the
   * test file is read once for each.
   */
  async test(training: Training | undefined): Promise<TestRecord> {
    const name = training === undefined ? "base" : `test-${trainingName(training)}`;
    const found = await this.records.readTest(name, training);
    if (found && (!isFailed(found) || failsAgain(found))) return found;
    const subject = training && { folder: this.folderOf(training), isModel: training.method.isFull };
    return this.evaluated(name, training, this.commands.test(subject));
  }

  hasTest(training: Training): Promise<boolean> {
    return this.records
      .readTest(`test-${trainingName(training)}`, training)
      .then((record) => record !== undefined && (!isFailed(record) || failsAgain(record)));
  }

  /** The peak memory of an evaluation of the base by its loss. */
  async memory(): Promise<TestRecord> {
    const { memory } = this.commands;
    if (memory === undefined) return this.test(undefined);
    const found = await this.records.readTest("memory", undefined);
    return found && !isFailed(found) ? found : this.evaluated("memory", undefined, memory);
  }

  private async evaluated(name: string, training: Training | undefined, words: readonly string[]): Promise<TestRecord> {
    let last: JsonObject | undefined;
    const startedAt = performance.now();
    const ended = await this.launch({
      words,
      signal: this.signal,
      onEvent(event) {
        if (event.type === undefined) last = event;
      },
    });
    const seconds = (performance.now() - startedAt) / 1000;
    const record: TestRecord =
      ended.status === 0 && last
        ? { scores: numbersIn(last, scoreNames), read: numbersIn(last, readNames), measured: measuredIn(last, seconds) }
        : { failure: failureOf(ended) };
    await this.records.writeTest(name, training, record);
    return record;
  }
}

function failureOf(ended: Parameters<typeof reasonOfEnd>[0]): Failure {
  return { code: ended.error?.code ?? null, reason: reasonOfEnd(ended) };
}

function measuredIn(event: JsonObject, seconds: number): Measured {
  return { seconds, peakMib: numberOf(event, "peakMemoryMib") };
}

const scoreNames = ["loss", "accuracy", "bleu", "nist", "rougeL", "cider"];
const readNames = ["tokens", "inputs", "references", "skipped", "truncated"];

function numbersIn(event: JsonObject, names: readonly string[]): Record<string, number> {
  const found = names.filter((name) => typeof event[name] === "number");
  return Object.fromEntries(found.map((name) => [name, numberOf(event, name)]));
}

const isTensorFile = (name: string) => name.endsWith(".safetensors");

async function tensorFiles(folder: string): Promise<string[]> {
  if (!(await present(folder))) return [];
  return (await entriesOf(folder)).filter(isTensorFile).map((name) => join(folder, name));
}

async function hasTensors(folder: string): Promise<boolean> {
  return (await tensorFiles(folder)).length > 0;
}

async function bytesOfTensors(folder: string): Promise<number> {
  const sizes = (await tensorFiles(folder)).map((path) =>
    withFileErrors(path, async () => (await stat(path)).size, "Cannot read"),
  );
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
}

/** @throws RubricateError with the code of the failure */
export function requireDone<R extends object>(record: R | { readonly failure: Failure }, what: string): R {
  if (!isFailed(record)) return record;
  const { code, reason } = record.failure;
  throw new RubricateError(knownCode(code), `${what} failed, so that nothing can be compared with it: ${reason}`);
}
