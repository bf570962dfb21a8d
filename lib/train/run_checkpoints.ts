/**
 * Writes a run's checkpoints into its outputDir: those that are due, and one of the last finished step if the run ends
 * early. The clock decides only when one is written: no part of the training depends on it.
 */
import { RubricateError, reasonOf } from "../errors";
import { removeFolder } from "../files/atomic";
import {
  type Checkpoint,
  type CheckpointContents,
  checkpointPath,
  checkpointSteps,
  readState,
  removeOldCheckpoints,
  writeCheckpoint,
} from "./checkpoint";
import type { RunIdentity } from "./identity";
import type { Settings } from "./options";
import { isSameRun } from "./resume";

export class RunCheckpoints {
  private latest: { readonly step: number; readonly path: string } | undefined;
  /** Whether the checkpoint of a step in the outputDir is this run's; each is read once. */
  private readonly own = new Map<number, boolean>();
  /** When the last checkpoint was finished, or this object was made, in milliseconds of `performance.now`. */
  private lastAt = performance.now();
  /** Whether the outputDir has checkpoints of another run, to be removed once it has one of this run. */
  private overwrites = false;

  /** @param contents returns the contents of a checkpoint of the run's current state */
  constructor(
    private readonly outputDir: string,
    private readonly identity: RunIdentity,
    private readonly settings: Pick<Settings, "checkpointEverySteps" | "checkpointEveryMinutes" | "keepCheckpoints">,
    private readonly contents: () => Promise<CheckpointContents>,
  ) {}

  /** Step of the newest checkpoint that the run has written or was resumed from; 0: none. */
  get latestStep(): number {
    return this.latest?.step ?? 0;
  }

  /** The run replaces another one's checkpoints. */
  overwriteOthers(): void {
    this.overwrites = true;
  }

  resumeFrom({ path, state }: Checkpoint): void {
    this.latest = { step: state.step, path };
  }

  /**
   * Whether a checkpoint of the run's current step is due.
   * @param isLast whether the run makes no further step
   */
  isDue(step: number, isLast: boolean): boolean {
    if (step <= this.latestStep) return false;
    const { checkpointEverySteps: steps, checkpointEveryMinutes: minutes } = this.settings;
    if (isLast && (steps !== undefined || minutes > 0)) return true;
    if (steps !== undefined && step % steps === 0) return true;
    return minutes > 0 && performance.now() - this.lastAt >= minutes * 60_000;
  }

  /** @returns its path @throws RubricateError ERR_FILE, ERR_NOT_FINITE */
  async write(step: number): Promise<string> {
    const path = await writeCheckpoint(this.outputDir, await this.contents());
    this.latest = { step, path };
    this.own.set(step, true);
    this.lastAt = performance.now();
    return path;
  }

  /** Removes the run's older checkpoints. @throws RubricateError ERR_FILE */
  async prune(step: number): Promise<void> {
    const isOwn = async (one: number, path: string) => {
      const known = this.own.get(one);
      if (known !== undefined) return known;
      const read = await readState(path).catch(() => undefined);
      const own = read !== undefined && isSameRun(read.identity, this.identity, one);
      this.own.set(one, own);
      return own;
    };
    if (this.overwrites && this.latest !== undefined) {
      for (const one of await checkpointSteps(this.outputDir)) {
        const path = checkpointPath(this.outputDir, one);
        if (one > step || !(await isOwn(one, path))) await removeFolder(path);
      }
    }
    await removeOldCheckpoints(this.outputDir, step, this.settings.keepCheckpoints, isOwn);
  }

  /** Writes a checkpoint of the run's current step, unless there is one. It does not throw. */
  async keep(step: number): Promise<LastStep> {
    if (this.latest?.step === step) return { ...this.latest, written: false };
    const earlier = this.latest?.path;
    try {
      const path = await this.write(step);
      await this.prune(step).catch(() => {}); // the error that ended the run is reported
      return { step, path, written: true };
    } catch (failure) {
      return { step, failure, earlier };
    }
  }
}

/** The outcome of saving the last finished step of a run that ended early. */
export type LastStep =
  /** It is in a checkpoint, written now or before. */
  | { readonly step: number; readonly path: string; readonly written: boolean }
  /** It could not be written; `earlier` is the newest checkpoint before it, if there is one. */
  | { readonly step: number; readonly failure: unknown; readonly earlier: string | undefined };

/**
 * Adds to the error of a run where its last finished step is and how to resume.
 * @param stopped whether the run was stopped by its signal, which is not a failure
 */
export function failureWith(error: unknown, last: LastStep | undefined, stopped: boolean): unknown {
  if (last === undefined) return error;
  const code = error instanceof RubricateError ? error.code : "ERR_INTERNAL";
  const withMessage = (text: string, how = code) => new RubricateError(how, text, { cause: error });
  if ("path" in last) {
    if (stopped) return error;
    return withMessage(
      `${reasonOf(error)}; the last finished step, ${last.step}, is in ${last.path}: remove the cause, then resume from it ` +
        "with the same options (resume: true)",
    );
  }
  const earlier =
    last.earlier === undefined ? "there is no earlier checkpoint" : `the newest checkpoint is ${last.earlier}`;
  // A due checkpoint failed and, tried once more, failed in the same way.
  if (reasonOf(error) === reasonOf(last.failure)) return withMessage(`${reasonOf(error)}; ${earlier}`);
  const lost = `the checkpoint of step ${last.step} could not be written: ${reasonOf(last.failure)}; ${earlier}`;
  // A caller who stops a run expects a checkpoint, so its failure becomes the error.
  const failed = last.failure instanceof RubricateError ? last.failure.code : "ERR_INTERNAL";
  return withMessage(`${reasonOf(error)}; ${lost}`, stopped ? failed : code);
}

/** For a run whose consumer left the loop. @throws the error of writing the checkpoint */
export function requireKept(last: LastStep | undefined): void {
  if (last && "failure" in last) throw last.failure;
}
