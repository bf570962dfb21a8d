import { requireModel } from "../brands";
import { invalid, quoted, RubricateError } from "../errors";
import { abortError, isAborted, onAbort } from "../job";
import { limits } from "../limits";
import type { LanguageModel } from "../model/model";
import { integer, type Kind, number } from "../option_kinds";
import { checkOptions, type OptionNames, signalOf } from "../options";
import type { TrainerOptions, TrainerSettings } from "./options";
import { type PublishOptions, publishing } from "./publish";
import { type RunRequest, runEvents } from "./run_events";
import { RunLock } from "./run_lock";
import { checkedSettings, trainerOptionNames } from "./settings";
import { type Member, SharedSteps } from "./shared_steps";
import { TrainingRun } from "./training_run";

export interface MultiTrainerOptions {
  readonly model: LanguageModel;
  /** Tokens of a shared step; a run whose own step has more goes alone. It bounds a micro-batch, too. Default: 4096. */
  readonly maxRows?: number;
  /** Runs of a shared step. Default: 256. */
  readonly maxTenants?: number;
}

/** The options of a run of a MultiTrainer: those of a Trainer that trains an adapter, and its part in shared steps. */
export interface MultiRunOptions extends Omit<TrainerOptions, "model"> {
  /** Its share of the tokens while it trains beside others, from 0.001 to 1000: with 2, twice that of 1. Default: 1. */
  readonly weight?: number;
  /** Makes versions of the adapter that an engine answers with, while it trains or at the end. */
  readonly publish?: PublishOptions;
  /** Ends the run as `cancel` does. */
  readonly signal?: AbortSignal;
}

const multiNames: OptionNames<MultiTrainerOptions> = { model: true, maxRows: true, maxTenants: true };
const { model: _, ...namesOfTrainer } = trainerOptionNames;
const runNames: OptionNames<MultiRunOptions> = { ...namesOfTrainer, weight: true, publish: true, signal: true };

const count = integer(1, 2 ** 31 - 1);
const weights = number(0.001, 1000);

/**
 * Trains many adapters on one model in shared steps. Each run has the bits of its run by a Trainer, whoever shares its steps,
 * and ends by itself: an error, a cancellation or bad data of one is that run's alone. Runs join and leave between two steps;
 * runs of one layout (variant, sites, layers) share a step, and layouts take turns.
 */
export class MultiTrainer {
  private readonly model: LanguageModel;
  private readonly steps: SharedSteps;
  private readonly active = new Map<string, { readonly run: TrainingRun; readonly outputDir: string | undefined }>();
  private closed = false;

  /** @throws RubricateError ERR_ARGUMENT naming the option */
  constructor(options: MultiTrainerOptions) {
    const { model, maxRows, maxTenants } = checkOptions(options, multiNames, "MultiTrainer");
    requireModel(model);
    this.model = model;
    this.steps = new SharedSteps(model, {
      maxRows: checked("maxRows", maxRows, count, 4096),
      maxTenants: checked("maxTenants", maxTenants, count, 256),
    });
  }

  /** The runs that have not ended. */
  get runs(): readonly TrainingRun[] {
    return [...this.active.values()].map(({ run }) => run);
  }

  /**
   * Begins a run. It locks its adapter and its outputDir until it ends.
   * @param name of 1 to 256 characters, of no other run that has not ended
   * @throws RubricateError ERR_ARGUMENT naming the option; ERR_FOREIGN if the adapter is another model's; ERR_DISPOSED; ERR_BUSY
   * if another run has its name, its adapter or its outputDir, or trains all weights of the model; ERR_STATE after `close`.
   * Everything else ends the run, not this call: its `done` rejects with the errors of `Trainer.run`
   */
  add(name: string, options: MultiRunOptions): TrainingRun {
    if (this.closed) throw new RubricateError("ERR_STATE", "The MultiTrainer takes no more runs: it was closed");
    if (typeof name !== "string" || name.length === 0 || name.length > limits.runNameCharacters)
      throw invalid("name", `a string of 1 to ${limits.runNameCharacters} characters`, name);
    const { weight, publish, signal, ...own } = checkOptions(options, runNames, "MultiTrainer.add");
    if (own.method === "full")
      throw invalid("method", "that of the adapter (a Trainer trains all weights of a model)", own.method);
    const settings = checkedSettings({ ...own, model: this.model });
    const share = checked("weight", weight, weights, 1);
    const hooks = publishing(publish, settings.adapter!, settings.eval !== undefined);
    const outer = signalOf(signal);
    this.requireFree(name, settings);
    const lock = new RunLock();
    try {
      lock.claim({}, settings);
    } catch (error) {
      void lock.release();
      throw error;
    }
    return this.begin(name, { settings, lock, steps: this.steps.join(share), hooks }, outer);
  }

  /** Cancels all runs, and takes no more. With an outputDir, each writes a checkpoint of its last step. */
  async close(): Promise<void> {
    this.closed = true;
    // An error is that run's: its `done` rejects with it.
    await Promise.all(this.runs.map((run) => run.cancel().catch(() => {})));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  private begin(
    name: string,
    parts: Pick<RunRequest, "settings" | "lock" | "hooks"> & { readonly steps: Member },
    outer: AbortSignal | undefined,
  ): TrainingRun {
    const { settings, lock, steps } = parts;
    const controller = new AbortController();
    const { signal } = controller;
    const stop = () => controller.abort(abortError(outer!).cause);
    let release: (() => void) | undefined;
    if (outer && isAborted(outer)) stop();
    else if (outer) release = onAbort(outer, stop);
    const request = { ...parts, resume: settings.resume, signal };
    const run = new TrainingRun(name, {
      events: runEvents(request, () => lock.takeFolder(settings)),
      controller,
      away: () => steps.away(),
      ended: () => {
        release?.();
        steps.leave();
        this.active.delete(name);
      },
    });
    this.active.set(name, { run, outputDir: settings.outputDir });
    return run;
  }

  /** A folder that another process or a Trainer has is refused when the run locks it. @throws RubricateError ERR_BUSY */
  private requireFree(name: string, { outputDir }: TrainerSettings): void {
    if (this.active.has(name))
      throw new RubricateError(
        "ERR_BUSY",
        `Expected a name of its own for the run but ${quoted(name)} is under way; wait until it ends, or cancel it`,
      );
    if (outputDir === undefined) return;
    for (const [other, { outputDir: taken }] of this.active)
      if (taken === outputDir)
        throw new RubricateError(
          "ERR_BUSY",
          `Expected an outputDir of its own for the run ${quoted(name)} but ${quoted(other)} writes into ${outputDir}`,
        );
  }
}

function checked(name: string, value: number | undefined, kind: Kind<number>, fallback: number): number {
  if (value === undefined) return fallback;
  const expected = kind.fault(value);
  if (expected !== undefined) throw invalid(name, expected, value);
  return value;
}
