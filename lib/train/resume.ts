import { stat } from "node:fs/promises";
import { escaped, formatJson, invalid, RubricateError } from "../errors";
import { removeLeftovers } from "../files/atomic";
import { type Checkpoint, checkpointPath, checkpointSteps, damaged, readCheckpoint, readState } from "./checkpoint";
import type { RunIdentity } from "./identity";
import { requireNoFinalResult, requireNoResults, ways } from "./output_folder";
import type { Plan } from "./plan";
import { readRunFile } from "./run_file";
import { fault } from "./state";
import type { Trainee } from "./trainee";

/** The checkpoint that a run resumes from, if any, and notices about it. */
export interface Resumption {
  readonly checkpoint: Checkpoint | undefined;
  readonly notices: readonly string[];
  /** Whether the outputDir has results of another run, which this one overwrites. */
  readonly overwrites: boolean;
}

interface ResumeRequest {
  readonly outputDir: string | undefined;
  /**
   * false: starts a new run. true: resumes from the newest checkpoint. "auto": the same if there is one, else a new run.
   * Otherwise a checkpoint's path.
   */
  readonly resume: boolean | string;
  /** Whether the run may replace the results of another one in the outputDir. */
  readonly overwrite: boolean;
  readonly identity: RunIdentity;
  readonly plan: Plan;
  readonly cpuPath: string;
  readonly matmul: string | null;
  readonly trainee: Trainee;
  readonly parameterFile: string;
  readonly signal: AbortSignal | undefined;
}

/** Characters of a field in messages: two fingerprints fit. */
const identityLength = 240;

/** It says where the learning rate came from: an equal rate gives the same run. */
const sourceField = "learningRateFrom";

/** Fields that may grow if the learning rate does not depend on them. */
const lengthFields = ["epochs", "maxSteps", "totalSteps"];

/**
 * Finds the checkpoint to resume from. Damaged ones are skipped with a notice; one of another run is an error.
 * @throws RubricateError ERR_CHECKPOINT, ERR_ARGUMENT, ERR_ABORTED
 */
export async function resumption(request: ResumeRequest): Promise<Resumption> {
  const { outputDir, resume } = request;
  requireResume(resume);
  if (typeof resume === "string" && resume !== "auto") {
    await requireFolder(resume);
    const checkpoint = await readSameRun(resume, request);
    const overwrites = outputDir !== undefined && (await mayOverwrite(outputDir, request));
    if (outputDir !== undefined && !overwrites) await requireNoOtherRun(outputDir, request.identity);
    return acceptCheckpoint(request, checkpoint, [], overwrites);
  }
  if (outputDir === undefined) {
    requireNoResume(resume);
    return { checkpoint: undefined, notices: [], overwrites: false };
  }
  await removeLeftovers(outputDir);
  if (resume === false) {
    if (!request.overwrite) await requireNoResults(outputDir);
    return { checkpoint: undefined, notices: [], overwrites: request.overwrite };
  }
  return resumptionIn(outputDir, request);
}

/** Resumes from the newest usable checkpoint of this run in its outputDir; "auto" starts a new run without one. */
async function resumptionIn(outputDir: string, request: ResumeRequest): Promise<Resumption> {
  const overwrites = await mayOverwrite(outputDir, request);
  const steps = await checkpointSteps(outputDir);
  const notices: string[] = [];
  for (const step of steps) {
    const path = checkpointPath(outputDir, step);
    let checkpoint: Checkpoint;
    try {
      checkpoint = await readSameRun(path, request);
    } catch (error) {
      if (error instanceof OtherRun && overwrites) continue;
      const damage = error instanceof RubricateError && error.code === "ERR_CHECKPOINT" && !(error instanceof OtherRun);
      if (!damage) throw error;
      notices.push(error.message);
      continue;
    }
    return acceptCheckpoint(request, checkpoint, notices, overwrites);
  }
  if (request.resume === true) throw noneToResume(outputDir, notices);
  if (!overwrites && !(await isOwnFolder(outputDir, request.identity))) await requireNoFinalResult(outputDir);
  return { checkpoint: undefined, notices, overwrites };
}

/** Whether run.json says that the folder belongs to a run. */
async function isOwnFolder(outputDir: string, identity: RunIdentity): Promise<boolean> {
  const record = await readRunFile(outputDir);
  return record !== undefined && isSameRun(record.identity, identity, 0);
}

/** Whether the run may replace another one's results, by this call or by the one that it resumes. */
async function mayOverwrite(outputDir: string, { overwrite, identity }: ResumeRequest): Promise<boolean> {
  if (overwrite) return true;
  return (await readRunFile(outputDir))?.overwrites === true && (await isOwnFolder(outputDir, identity));
}

function requireResume(resume: boolean | string): void {
  if (typeof resume !== "boolean" && (typeof resume !== "string" || resume === ""))
    throw invalid("resume", 'true, false, "auto" or the path of a checkpoint', resume);
}

/** Of a run without outputDir. */
function requireNoResume(resume: boolean | string): void {
  if (resume !== false) throw new RubricateError("ERR_ARGUMENT", "resume needs outputDir");
}

function noneToResume(outputDir: string, notices: readonly string[]): RubricateError {
  return new RubricateError(
    "ERR_CHECKPOINT",
    [`Expected a checkpoint to resume from in ${outputDir} but found no usable one`, ...notices].join("; "),
  );
}

/** A checkpoint's path, and the identity of its run. */
export interface SavedRun {
  readonly path: string;
  readonly identity: RunIdentity;
}

/**
 * The run that one with this `outputDir` and `resume` would resume; undefined for a new run. Reads only the newest state, not
 * the parameters.
 * @throws RubricateError ERR_CHECKPOINT where the run could not begin: checkpoints in the way of a new run, or none to resume from
 */
export async function savedRun(
  { outputDir, overwrite }: { readonly outputDir: string | undefined; readonly overwrite: boolean },
  resume: boolean | string,
): Promise<SavedRun | undefined> {
  requireResume(resume);
  if (typeof resume === "string" && resume !== "auto") {
    await requireFolder(resume);
    return { path: resume, identity: (await readState(resume)).identity };
  }
  if (outputDir === undefined) {
    requireNoResume(resume);
    return undefined;
  }
  if (resume === false) {
    if (!overwrite) await requireNoResults(outputDir);
    return undefined;
  }
  const notices: string[] = [];
  for (const step of await checkpointSteps(outputDir)) {
    const path = checkpointPath(outputDir, step);
    try {
      return { path, identity: (await readState(path)).identity };
    } catch (error) {
      if (!(error instanceof RubricateError && error.code === "ERR_CHECKPOINT")) throw error;
      notices.push(error.message);
    }
  }
  if (resume === true) throw noneToResume(outputDir, notices);
  return undefined;
}

export class OtherRun extends RubricateError {
  constructor(path: string, different: string) {
    super(
      "ERR_CHECKPOINT",
      `The checkpoint ${path} belongs to another run: ${different}; resume with that run's options, ${ways}`,
    );
  }
}

async function requireFolder(path: string): Promise<void> {
  const found = await stat(path).catch(() => undefined);
  if (!found?.isDirectory())
    throw new RubricateError("ERR_CHECKPOINT", `Expected a checkpoint's folder at ${path} but there is none`);
}

async function readSameRun(path: string, request: ResumeRequest): Promise<Checkpoint> {
  const { identity, state } = await readState(path);
  const different = difference(identity, request.identity, state.step);
  if (different) throw new OtherRun(path, different);
  const totalSteps = Number(request.identity.totalSteps);
  if (state.step > totalSteps) throw damaged(path, fault("step", `at most the run's ${totalSteps}`, state.step));
  if (!(await request.plan.isAfter(state.step, state)))
    throw damaged(
      path,
      fault("microBatch", `the place after step ${state.step} of epoch ${state.epoch}`, state.microBatch),
    );
  return readCheckpoint(path, request.trainee, request.parameterFile, request.signal);
}

/** A run resumed from another folder would overwrite the checkpoints, the log and the best result of the run in this one. */
async function requireNoOtherRun(outputDir: string, own: RunIdentity): Promise<void> {
  let hasOwn = await isOwnFolder(outputDir, own);
  for (const step of await checkpointSteps(outputDir)) {
    const path = checkpointPath(outputDir, step);
    const { identity } = (await readState(path).catch(() => undefined)) ?? {};
    const different = identity && difference(identity, own, step);
    if (different)
      throw new RubricateError(
        "ERR_CHECKPOINT",
        `Expected no checkpoints of another run in ${outputDir} but found ${path}: ${different}; ${ways}`,
      );
    if (identity) hasOwn = true;
  }
  if (!hasOwn) await requireNoFinalResult(outputDir);
}

/** Whether a run can resume from a checkpoint of the saved run at that step. */
export function isSameRun(saved: RunIdentity, present: RunIdentity, step: number): boolean {
  return difference(saved, present, step) === undefined;
}

function acceptCheckpoint(
  request: ResumeRequest,
  checkpoint: Checkpoint,
  notices: string[],
  overwrites: boolean,
): Resumption {
  const noteChange = (before: string, now: string) =>
    notices.push(
      `The checkpoint ${checkpoint.path} was written with ${before} and is resumed with ${now}: ` +
        "the result is equally valid, but not bit-identical",
    );
  if (checkpoint.cpuPath !== request.cpuPath)
    noteChange(`${escaped(checkpoint.cpuPath)} kernels`, `${request.cpuPath} ones`);
  if (checkpoint.matmul !== request.matmul) noteChange(matmulText(checkpoint.matmul), matmulText(request.matmul));
  return { checkpoint, notices, overwrites };
}

function matmulText(matmul: string | null): string {
  return matmul === null ? "matmuls on the CPU" : `matmuls on a GPU (${escaped(matmul)})`;
}

/** Describes the first field in which two runs differ; undefined if one can resume from the other's checkpoint. */
function difference(saved: RunIdentity, present: RunIdentity, step: number): string | undefined {
  const growing = saved.schedule === "constant" || saved.schedule === "constant_with_warmup";
  for (const name of new Set([...Object.keys(present), ...Object.keys(saved)])) {
    const [before, now] = [saved[name], present[name]];
    if (name === sourceField || JSON.stringify(before) === JSON.stringify(now)) continue;
    if (growing && lengthFields.includes(name) && Number(present.totalSteps) >= step) continue;
    return `it has ${escaped(name)} ${formatJson(before, identityLength)}, this one ${formatJson(now, identityLength)}`;
  }
  return undefined;
}
