import { join } from "node:path";
import { createAdapter } from "../adapter/create";
import { type MethodKind, methodOf } from "../adapter/methods";
import type { Sensitivities } from "../adapter/sensitivities";
import type { Dataset } from "../data/dataset";
import { RubricateError, reasonOf } from "../errors";
import { requireNoModel } from "../files/model_folder";
import { present } from "../files/read";
import type { LanguageModel } from "../model/model";
import { numberIn } from "../option_kinds";
import { writeCurve } from "../train/curve";
import type { StartEvent, StepEvent, TrainEvent, TrainSummary, TrialEvent } from "../train/events";
import { lockFile } from "../train/folder_lock";
import { defaultMethod } from "../train/learning_rates";
import { checkRunOptions } from "../train/option_checks";
import { requireNoResults, requireOutsideModel } from "../train/output_folder";
import { sensitivities } from "../train/sensitivities";
import { textChart } from "../train/text_chart";
import { Trainer } from "../train/trainer";
import { kebab } from "./arguments";
import { type Command, type Invocation, status, UsageError } from "./command";
import { dataFlags, type FlagName, modelFlags, type Values } from "./flags";
import { commandLine, tryLine } from "./hints";
import { loadData, loadModel, modelDir, reportRows } from "./load";
import { checkMethodFlags, methodCall, methodFlags, requireBudget } from "./method_flags";
import { count, duration, plural } from "./text";
import { flagNameOf, trainingFlagNames, trainingOptionsOf } from "./training_flags";

const named = {
  Model: modelFlags,
  Data: dataFlags,
  Adapter: ["method", ...methodFlags],
  Evaluation: [
    "eval",
    "evalEverySteps",
    "noEvalEveryEpoch",
    "evalOnStart",
    "noKeepBest",
    "earlyStopping",
    "earlyStoppingMinDelta",
  ],
  Output: [
    "config",
    "out",
    "resume",
    "overwrite",
    "checkpointEveryMinutes",
    "checkpointEverySteps",
    "keepCheckpoints",
    "loggers",
  ],
} satisfies Record<string, readonly FlagName[]>;
const { Model, Data, Adapter: adapterFlags, ...last } = named;
const grouped = new Set<FlagName>(Object.values(named).flat());
/** In the order of --help. A training option that no other group has is of the optimizer and its batches. */
const groups = {
  Model,
  Data,
  Adapter: adapterFlags,
  Optimization: trainingFlagNames.filter((name) => !grouped.has(name)),
  ...last,
};

export const trainCommand: Command = {
  name: "train",
  summary: "Fine-tunes a model on JSONL, JSON or CSV data.",
  details:
    "Writes the adapter (with --method full the model) into --out, with log.jsonl, the checkpoints and a picture of the losses, curve.svg. Ctrl-C writes a checkpoint and prints how to resume, as SIGTERM and a closed terminal (SIGHUP) do; a second one ends immediately.",
  flags: Object.values(groups).flat(),
  groups,
  required: ["model", "data", "out"],
  run: train,
};

/** The share that --eval, or another flag, splits off; undefined if it is a path or missing. */
export function evalShare(value: string | undefined, flag = "--eval"): number | undefined {
  const share = value === undefined ? undefined : numberIn(value);
  if (share === undefined || (share > 0 && share < 1)) return share;
  throw new UsageError(
    `Expected a file, or a number between 0 and 1, for ${flag} but received ${JSON.stringify(value)}`,
  );
}

/** The flag of an option, for messages. */
export const flagText = (option: string, field?: string) => `--${kebab(flagNameOf(option, field) ?? option)}`;

/** Checks all options before anything is loaded. @throws UsageError naming the flags */
function checkOptions(values: Values, share: number | undefined): void {
  const fail = (message: string) => new UsageError(message);
  const method = values.method ?? defaultMethod;
  checkMethodFlags(method, values);
  requireBudget(method, values);
  if (values.eval === undefined)
    for (const name of ["evalEveryEpoch", "keepBest"] as const)
      if (values[flagNameOf(name)!] !== undefined) throw fail(`${flagText(name)} needs --eval`);
  if (values.earlyStopping === undefined && values.earlyStoppingMinDelta !== undefined)
    throw fail(`${flagText("earlyStopping", "minDelta")} needs ${flagText("earlyStopping", "patience")}`);
  try {
    checkRunOptions({ ...trainingOptionsOf(values), eval: share ?? values.eval }, flagText);
  } catch (error) {
    throw error instanceof RubricateError ? fail(error.message) : error;
  }
}

/** Checks --out before anything is loaded; the run checks it again. @throws RubricateError ERR_FILE, ERR_CHECKPOINT */
async function checkOutput({ out, model, method, resume, overwrite }: Values): Promise<void> {
  await requireOutsideModel(out!, modelDir(model));
  if (method !== "full") await requireNoModel(out!); // or saving would fail at the end
  // If another run uses the folder, that is what its lock says.
  const isInUse = await present(join(out!, lockFile)).catch(() => false);
  if (resume === undefined && !overwrite && !isInUse) await requireNoResults(out!);
}

async function train(invocation: Invocation): Promise<number> {
  const { values, terminal, interrupts } = invocation;
  const share = evalShare(values.eval);
  checkOptions(values, share);
  await checkOutput(values);
  const model = await loadModel(invocation);
  const data: Dataset[] = [];
  const load = async (path: string) => {
    const read = await loadData(invocation, model, path);
    data.push(read);
    reportRows(invocation, path, read);
    return read;
  };
  try {
    const { method = defaultMethod, seed } = values;
    const needsData = method !== "full" && methodOf(method)?.needsData === true;
    const made = (more?: object) => createAdapter(model, methodCall(method as MethodKind, values, more), { seed });
    let adapter = method === "full" || needsData ? undefined : await made();
    const training = await load(values.data!);
    if (needsData) adapter = await made({ sensitivities: await found(invocation, model, training, share) });
    const evaluation = share ?? (values.eval === undefined ? undefined : await load(values.eval));
    const trainer = new Trainer({ ...trainingOptionsOf(values), model, adapter, train: training, eval: evaluation });
    const stopping = "stopping after a checkpoint of the last finished step (Ctrl-C again ends immediately)";
    interrupts.onStop(() => terminal.note(stopping));
    const summary = await runTrainer(trainer, invocation);
    await (adapter ?? model).savePretrained(values.out!);
    terminal.event({ type: "saved", path: values.out });
    await drawCurve(invocation);
    terminal.event({ type: "end", ...summary });
    reportEnd(invocation, training, summary);
    return status.done;
  } finally {
    for (const one of data) await one.dispose();
    model.dispose();
  }
}

/** What the training data is most sensitive to, in batches as those of the run. */
async function found(
  { values, terminal, interrupts }: Invocation,
  model: LanguageModel,
  train: Dataset,
  share: number | undefined,
): Promise<Sensitivities> {
  const { batchSize, gradientAccumulationSteps, seed } = trainingOptionsOf(values);
  terminal.note(`finding the ${plural(values.budget!, "weight")} that the data is most sensitive to`);
  const options = { batchSize, gradientAccumulationSteps, seed, eval: share, budget: values.budget! };
  return sensitivities(model, { train, ...options, signal: interrupts.signal });
}

/** Draws the log; the result is saved already, so that a failure does not end the command. */
async function drawCurve({ values, terminal }: Invocation): Promise<void> {
  if (values.loggers !== undefined && !(values.loggers as readonly string[]).includes("jsonl")) return;
  try {
    const { path, points } = await writeCurve(values.out!);
    const { stderr } = terminal.streams;
    if (stderr.isTTY === true && !terminal.json)
      for (const line of textChart(points, stderr.columns ?? 80)) terminal.note(line);
    terminal.note(`the losses are drawn in ${path}`);
  } catch (error) {
    terminal.note(`notice: the curve was not drawn: ${reasonOf(error)}`);
  }
}

/** Runs the trainer and shows its progress; when it is stopped, prints how to resume. */
async function runTrainer(trainer: Trainer, invocation: Invocation): Promise<TrainSummary> {
  const { terminal, interrupts } = invocation;
  let checkpoint: string | undefined;
  let resumed = 0;
  try {
    const events = trainer.run({ signal: interrupts.signal });
    for (;;) {
      const next = await events.next();
      if (next.done) return next.value;
      const event = next.value;
      if (event.type === "checkpoint") checkpoint = event.path;
      if (event.type === "start") resumed = event.resumedStep;
      if (event.type !== "end") terminal.event(event); // reported after the result is saved
      report(event, invocation);
    }
  } catch (error) {
    terminal.progress.clear();
    const stopped = interrupts.signal.aborted && error instanceof RubricateError && error.code === "ERR_ABORTED";
    const resumable = checkpoint !== undefined || resumed > 0;
    const where = checkpoint === undefined ? "" : `the checkpoint is in ${checkpoint}; `;
    if (resumable) {
      terminal.note(`${stopped ? "stopped" : "failed"}; ${where}resume with:`);
      terminal.note(`  ${resumeLine(invocation)}`);
    } else if (stopped) terminal.note("stopped before the first step: nothing was written");
    throw error;
  }
}

/** The command line that resumes from here. */
function resumeLine({ argv }: Invocation): string {
  const again = argv.filter((argument) => !/^--resume(=|$)/.test(argument));
  return commandLine([...again, "--resume"]);
}

function report(event: TrainEvent, { terminal }: Invocation): void {
  switch (event.type) {
    case "trial":
      terminal.note(trialWords(event));
      break;
    case "start": {
      const rows = `${plural(event.trainRows, "row")} to train on, ${count(event.evalRows)} to evaluate with`;
      terminal.note(
        `${rows}, ${count(event.trainableParameters)} trainable parameters, ${plural(event.totalSteps, "step")}`,
      );
      terminal.note(rateWords(event));
      if (event.resumedStep > 0) terminal.note(`resuming after step ${event.resumedStep}`);
      break;
    }
    case "step":
      terminal.progress.show(
        event.step / event.totalSteps,
        stepWords(event),
        [1, event.totalSteps].includes(event.step),
      );
      break;
    case "eval":
      terminal.note(
        `step ${event.step}: evaluation loss ${event.loss.toFixed(4)}, perplexity ${event.perplexity.toFixed(2)}${event.best ? ", the best so far" : ""}`,
      );
      break;
    case "notice":
      terminal.note(event.message);
      break;
    default:
  }
}

function trialWords({ learningRate, steps, evalLoss }: TrialEvent): string {
  const loss = evalLoss === null ? "the training was not finite" : `evaluation loss ${evalLoss.toFixed(4)}`;
  return `sweep: learning rate ${learningRate}, ${plural(steps, "step")}: ${loss}`;
}

function rateWords({ learningRate, learningRateFrom }: StartEvent): string {
  const sources = {
    option: "as given",
    default: "the default for this method, these sites and this model",
    sweep: "found by the sweep",
  };
  return `learning rate ${learningRate}, ${sources[learningRateFrom]}`;
}

/** Describes a step. */
export function stepWords(event: StepEvent): string {
  const { step, totalSteps, epoch, loss, tokensPerSecond, secondsLeft } = event;
  return `step ${step}/${totalSteps}  epoch ${epoch.toFixed(2)}  loss ${loss.toFixed(4)}  ${count(tokensPerSecond)} tokens/s  ${duration(secondsLeft)} left`;
}

function reportEnd({ values, terminal }: Invocation, data: Dataset, summary: TrainSummary): void {
  const { steps, trainLoss, evalLoss, seconds, tokensPerSecond, peakMemoryMib } = summary;
  const full = values.method === "full";
  const out = values.out!;
  const losses = [
    ...(trainLoss === null ? [] : [`training loss ${trainLoss.toFixed(4)}`]),
    ...(evalLoss === null ? [] : [`evaluation loss ${evalLoss.toFixed(4)}`]),
  ].join(", ");
  terminal.print(`${plural(steps, "step")} in ${duration(seconds)}${losses && `: ${losses}`}`);
  terminal.print(`${count(tokensPerSecond)} tokens/s, ${count(peakMemoryMib)} MiB peak memory`);
  terminal.print(`${full ? "The model" : "The adapter"} is in ${out}. Try it:`);
  const trained = full ? { model: out } : { model: values.model!, adapter: out };
  terminal.print(`  ${tryLine(trained, 2 * data.chatRows > data.length)}`);
}
