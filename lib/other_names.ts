/**
 * What transformers, TRL and PEFT call our options. The command line takes a name that means exactly the same; other names, and
 * all of them in programs, get an error that says ours.
 */

interface OtherName {
  /** Ours: the option's, or the flag's where that differs. The first that is known where the other name is given is meant. */
  readonly names: readonly string[];
  /** Whether it means exactly the same, for every value that ours accepts. */
  readonly same?: true;
  /** What differs, for the error. */
  readonly note?: string;
}

const same = (...names: string[]): OtherName => ({ names, same: true });
const like = (note: string | undefined, ...names: string[]): OtherName => ({
  names,
  ...(note !== undefined && { note }),
});

const theirs: Readonly<Record<string, OtherName>> = {
  lr: same("learningRate"),
  output_dir: same("outputDir", "out"),
  num_train_epochs: same("epochs"),
  num_epochs: same("epochs"),
  per_device_train_batch_size: same("batchSize"),
  train_batch_size: same("batchSize"),
  micro_batch_size: same("batchSize"),
  lr_scheduler_type: same("schedule"),
  lr_scheduler: same("schedule"),
  adam_beta1: same("beta1"),
  adam_beta2: same("beta2"),
  adam_epsilon: same("epsilon"),
  save_steps: same("checkpointEverySteps"),
  gradient_checkpointing: same("recompute"),
  early_stopping_patience: same("earlyStopping"),
  model_name_or_path: same("model"),
  train_file: same("data"),
  validation_file: same("eval"),
  logprobs: like("true or false; topLogProbabilities says how many others", "logProbabilities"),
  top_logprobs: like("of a generation, with logProbabilities: true", "topLogProbabilities"),
  prompt_logprobs: like("of score", "topLogProbabilities"),
  max_seq_length: like(undefined, "maxLength"),
  sequence_len: like(undefined, "maxLength"),
  eval_steps: like("an epoch's end is evaluated as well, unless evalEveryEpoch is false", "evalEverySteps"),
  save_total_limit: like("the best parameters are kept apart from them", "keepCheckpoints"),
  resume_from_checkpoint: like(undefined, "resume"),
  load_best_model_at_end: like("it is on if there is an evaluation", "keepBest", "noKeepBest"),
  eval_strategy: like(undefined, "evalEverySteps"),
  evaluation_strategy: like(undefined, "evalEverySteps"),
  save_strategy: like(undefined, "checkpointEverySteps"),
  report_to: like(undefined, "loggers"),
  dataset_name: like("nothing is downloaded", "data"),
  dataset: like(undefined, "data", "train"),
  train_dataset: like(undefined, "train", "data"),
  eval_dataset: like(undefined, "eval"),
  bf16: like("bfloat16", "dtype"),
  fp16: like("auto, float32 or bfloat16", "dtype"),
  lora_r: same("rank"),
  lora_alpha: same("alpha"),
  use_rslora: same("rankStabilized"),
  r: like(undefined, "rank"),
  target_modules: like(undefined, "targetModules", "sites"),
  logging_steps: like("every step is logged: leave it out"),
  logging_strategy: like("every step is logged: leave it out"),
  per_device_eval_batch_size: like("evaluations use the same size: leave it out", "batchSize"),
  optim: like("the optimizer is AdamW: leave it out"),
  overwrite_output_dir: like("an adapter in the folder is replaced: leave it out"),
};

/** max_new_tokens, --max-new-tokens and maxNewTokens are the same word. */
export const lettersOf = (name: string) => name.toLowerCase().replace(/[^a-z0-9]/g, "");

const byLetters = new Map(Object.entries(theirs).map(([name, other]) => [lettersOf(name), other]));

/** "; did you mean NAME?" or what is to be done without such an option; undefined if nobody else has that name. */
export function otherNameHint(given: string, known: readonly string[]): string | undefined {
  const other = byLetters.get(lettersOf(given));
  if (other === undefined) return undefined;
  const [ours] = other.names.flatMap((name) => known.find((one) => lettersOf(one) === lettersOf(name)) ?? []);
  if (ours === undefined && other.names.length > 0) return undefined;
  const note = other.note === undefined ? "" : ` (${other.note})`;
  return ours === undefined ? `; ${other.note}` : `; did you mean ${ours}?${note}`;
}

/** Names in kebab case that mean exactly one of the given flags. @returns them with the flag of each */
export function sameNames<F extends string>(flags: readonly F[]): Map<string, F> {
  const found = new Map<string, F>();
  for (const [name, { names, same: isSame }] of Object.entries(theirs)) {
    const flag = isSame && flags.find((one) => names.includes(one));
    if (flag) found.set(name.replaceAll("_", "-"), flag);
  }
  return found;
}
