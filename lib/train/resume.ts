import { stat } from "node:fs/promises";
import { escaped, formatJson, invalid, RubricateError } from "../errors";
import { removeLeftovers } from "../files/atomic";
import { type Checkpoint, checkpointPath, checkpointSteps, damaged, readCheckpoint, readState } from "./checkpoint";
import type { RunIdentity } from "./identity";
import type { Plan } from "./plan";
import { fault } from "./state";
import type { Trainee } from "./trainee";

/** The checkpoint that a run resumes from, if any, and notices about it. */
export interface Resumption {
  readonly checkpoint: Checkpoint | undefined;
  readonly notices: readonly string[];
}

interface ResumeRequest {
  readonly outputDir: string | undefined;
  /**
   * false: starts a new run. true: resumes from the newest checkpoint. "auto": the same if there is one, else a new run.
   * Otherwise a checkpoint's path.
   */
  readonly resume: boolean | string;
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
    if (outputDir !== undefined) await requireNoOtherRun(outputDir, request.identity);
    return acceptCheckpoint(request, checkpoint, []);
  }
  if (outputDir === undefined) {
    requireNoResume(resume);
    return { checkpoint: undefined, notices: [] };
  }
  await removeLeftovers(outputDir);
  const steps = await checkpointSteps(outputDir);
  if (resume === false) {
    requireNone(outputDir, steps);
    return { checkpoint: undefined, notices: [] };
  }
  const notices: string[] = [];
  for (const step of steps) {
    const path = checkpointPath(outputDir, step);
    let checkpoint: Checkpoint;
    try {
      checkpoint = await readSameRun(path, request);
    } catch (error) {
      const damage = error instanceof RubricateError && error.code === "ERR_CHECKPOINT" && !(error instanceof OtherRun);
      if (!damage) throw error;
      notices.push(error.message);
      continue;
    }
    return acceptCheckpoint(request, checkpoint, notices);
  }
  if (resume === true) throw noneToResume(outputDir, notices);
  return { checkpoint: undefined, notices };
}

function requireResume(resume: boolean | string): void {
  if (typeof resume !== "boolean" && (typeof resume !== "string" || resume === ""))
    throw invalid("resume", 'true, false, "auto" or the path of a checkpoint', resume);
}

/** Of a run without outputDir. */
function requireNoResume(resume: boolean | string): void {
  if (resume !== false) throw new RubricateError("ERR_ARGUMENT", "resume needs outputDir");
}

function requireNone(outputDir: string, steps: readonly number[]): void {
  if (steps.length > 0)
    throw new RubricateError(
      "ERR_CHECKPOINT",
      `Expected no checkpoints of an earlier run in ${outputDir} but found ${checkpointPath(outputDir, steps[0]!)}; ` +
        "resume that run, remove its checkpoints, or choose another outputDir",
    );
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
export async function savedRun(outputDir: string | undefined, resume: boolean | string): Promise<SavedRun | undefined> {
  requireResume(resume);
  if (typeof resume === "string" && resume !== "auto") {
    await requireFolder(resume);
    return { path: resume, identity: (await readState(resume)).identity };
  }
  if (outputDir === undefined) {
    requireNoResume(resume);
    return undefined;
  }
  const steps = await checkpointSteps(outputDir);
  if (resume === false) requireNone(outputDir, steps);
  const notices: string[] = [];
  for (const step of steps) {
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
    super("ERR_CHECKPOINT", `The checkpoint ${path} belongs to another run: ${different}`);
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
  for (const step of await checkpointSteps(outputDir)) {
    const path = checkpointPath(outputDir, step);
    const { identity } = (await readState(path).catch(() => undefined)) ?? {};
    const different = identity && difference(identity, own, step);
    if (different)
      throw new RubricateError(
        "ERR_CHECKPOINT",
        `Expected no checkpoints of another run in ${outputDir} but found ${path}: ${different}; choose another outputDir`,
      );
  }
}

/** Whether a run can resume from a checkpoint of the saved run at that step. */
export function isSameRun(saved: RunIdentity, present: RunIdentity, step: number): boolean {
  return difference(saved, present, step) === undefined;
}

function acceptCheckpoint(request: ResumeRequest, checkpoint: Checkpoint, notices: string[]): Resumption {
  const noteChange = (before: string, now: string) =>
    notices.push(
      `The checkpoint ${checkpoint.path} was written with ${before} and is resumed with ${now}: ` +
        "the result is equally valid, but not bit-identical",
    );
  if (checkpoint.cpuPath !== request.cpuPath)
    noteChange(`${escaped(checkpoint.cpuPath)} kernels`, `${request.cpuPath} ones`);
  if (checkpoint.matmul !== request.matmul) noteChange(matmulText(checkpoint.matmul), matmulText(request.matmul));
  return { checkpoint, notices };
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
