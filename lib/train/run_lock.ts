import { join } from "node:path";
import { requireNoModel } from "../files/model_folder";
import { claim } from "../in_use";
import { FolderLock } from "./folder_lock";
import type { TrainerSettings } from "./options";
import { requireOutsideModel } from "./output_folder";
import { bestFolder, requireNoLinks } from "./output_links";

const remedy = "wait until it ends, or end it: return() of a Trainer's run, cancel() of a MultiTrainer's";

/**
 * The locks of a run: its adapter, with method "full" its model, and its outputDir. Two runs on one of them would mix their
 * steps.
 */
export class RunLock {
  private readonly releases: (() => unknown)[] = [];
  private folder: FolderLock | undefined;

  /** @throws RubricateError ERR_BUSY naming what is in use, ERR_FILE */
  async take(trainer: object, settings: TrainerSettings): Promise<void> {
    this.claim(trainer, settings);
    await this.takeFolder(settings);
  }

  /** Locks the adapter, or the model. @throws RubricateError ERR_BUSY naming what is in use */
  claim(trainer: object, { model, adapter }: TrainerSettings): void {
    this.releases.push(claim(trainer, false, () => `The Trainer is in use by another run; ${remedy}`));
    this.releases.push(
      claim(model.native, adapter !== undefined, (byShared) =>
        byShared
          ? `The model is in use by another training run, which trains an adapter on it; ${remedy}`
          : `The model is in use by another training run, which trains all of its weights; ${remedy}`,
      ),
    );
    if (adapter)
      this.releases.push(
        claim(adapter.native, false, () => `The adapter is in use by another training run; ${remedy}`),
      );
  }

  /** Locks the outputDir, if there is one. @throws RubricateError ERR_BUSY, ERR_FILE */
  async takeFolder({ model, adapter, outputDir, keepBest }: TrainerSettings): Promise<void> {
    if (outputDir === undefined) return;
    await requireOutsideModel(outputDir, model.dir);
    await requireNoLinks(outputDir);
    if (adapter && keepBest) await requireNoModel(join(outputDir, bestFolder)); // or saving would fail in the middle of the run
    const folder = await FolderLock.take(outputDir);
    this.folder = folder;
    this.releases.push(() => folder.release());
  }

  /** Before the run writes into its outputDir. @throws RubricateError ERR_BUSY if it is another run's by now, ERR_FILE */
  async requireFolder(): Promise<void> {
    await this.folder?.requireHeld();
  }

  /** Adds a function to call when the run releases its locks. */
  onRelease(work: () => unknown): void {
    this.releases.push(work);
  }

  /** Releases everything in reverse order, even if a part fails. @throws the first error */
  async release(): Promise<void> {
    const errors: unknown[] = [];
    for (const release of this.releases.splice(0).reverse())
      try {
        await release();
      } catch (error) {
        errors.push(error);
      }
    if (errors.length > 0) throw errors[0];
  }

  /** Also releases the locks when an unfinished generator is garbage-collected. */
  releaseWith(generator: object): void {
    abandoned.register(generator, this);
  }
}

/** Locks of generators; they must not keep the generators alive. */
const abandoned = new FinalizationRegistry<RunLock>((lock) => lock.release().catch(() => {}));
