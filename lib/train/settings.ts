/** Checks a Trainer's options and adds the defaults of option_table.ts. */
import { resolve } from "node:path";
import { requireAdapter, requireModel } from "../brands";
import { invalid } from "../errors";
import { adapterHandle } from "../model_arguments";
import { checkOptions, type OptionNames } from "../options";
import type { RunFacts } from "./option";
import { checkRunOptions } from "./option_checks";
import { type OptionName, optionEntries, type TrainingSettings } from "./option_table";
import type { TrainerOptions, TrainerSettings } from "./options";

export const trainerOptionNames: OptionNames<TrainerOptions> = {
  model: true,
  adapter: true,
  train: true,
  eval: true,
  ...(Object.fromEntries(optionEntries.map(([name]) => [name, true])) as Record<OptionName, true>),
};

/** @throws RubricateError ERR_ARGUMENT naming the option; ERR_FOREIGN, ERR_DISPOSED for the adapter */
export function checkedSettings(given: TrainerOptions): TrainerSettings {
  const options = checkOptions(given, trainerOptionNames, "Trainer");
  const { model, adapter, train, learningRate } = options;
  requireModel(model);
  checkRunOptions(options);
  if (options.method !== "full") {
    requireAdapter(adapter);
    adapterHandle(adapter, model);
    if (options.method !== undefined && adapter!.method !== options.method)
      throw invalid("method", `"${adapter!.method}", that of the adapter`, options.method);
  } else if (adapter !== undefined) throw invalid("adapter", 'none with method "full"', adapter);
  const method = options.method ?? adapter!.method;
  const run = {
    method,
    sites: adapter?.sites ?? [],
    hidden: model.architecture.hidden,
    usualRate: adapter?.usualRate,
    contextLength: model.contextLength,
    evaluates: options.eval !== undefined,
    writes: options.outputDir !== undefined,
  };
  const settings = withDefaults(options, run);
  const { packing, maxLength, outputDir, resume } = settings;
  return {
    ...settings,
    model,
    adapter,
    train,
    eval: options.eval,
    packing: packing === false ? undefined : { maxTokens: packing === true ? model.contextLength : packing.maxTokens },
    maxLength: Math.min(maxLength, model.contextLength),
    // Resolved now, because the working directory may change before or during the run.
    outputDir: outputDir === undefined ? undefined : resolve(outputDir),
    resume: resolvedResume(resume),
    learningRateFrom: learningRate === undefined ? "default" : learningRate === "sweep" ? "sweep" : "option",
  };
}

function withDefaults(options: TrainerOptions, run: RunFacts): TrainingSettings {
  const settled = optionEntries.map(([name, { default: fallback }]) => [
    name,
    options[name] ?? (typeof fallback === "function" ? fallback(run) : fallback),
  ]);
  return Object.fromEntries(settled) as TrainingSettings;
}

/** Makes a checkpoint's path absolute; true, false and "auto" stay unchanged. */
export function resolvedResume(resume: boolean | string): boolean | string {
  return typeof resume !== "string" || resume === "" || resume === "auto" ? resume : resolve(resume);
}
