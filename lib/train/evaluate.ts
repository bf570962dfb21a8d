import type { Adapter } from "../adapter/adapter";
import { requireModel } from "../brands";
import { checkBatchSize, microBatchOf } from "../data/batches";
import type { Dataset } from "../data/dataset";
import type { Example } from "../data/types";
import { RubricateError } from "../errors";
import { Callback, runJob, throwIfAborted } from "../job";
import type { LanguageModel } from "../model/model";
import { adapterHandle } from "../model_arguments";
import type { NativeAdapter, NativeMicroBatch } from "../native";
import { checkOptions, functionOf, type OptionNames, signalOf } from "../options";
import { type ExampleSource, exampleSource, requireFit } from "./examples";

export interface EvaluateOptions {
  /** An adapter that was created or loaded for this model object. Default: only the model. */
  readonly adapter?: Adapter | null;
  /** Sequences per micro-batch; the result does not depend on it. Default: 8. */
  readonly batchSize?: number;
  readonly signal?: AbortSignal;
  /** Called with the number of examples done so far and in total. If it throws, the evaluation ends and rejects with that. */
  readonly onProgress?: (progress: { done: number; total: number }) => void;
}

const optionNames: OptionNames<EvaluateOptions> = { adapter: true, batchSize: true, signal: true, onProgress: true };

export interface Evaluation {
  /** Mean nats per supervised token. */
  readonly loss: number;
  /** exp(loss) */
  readonly perplexity: number;
  /** Share of the supervised tokens that had the largest logit. */
  readonly accuracy: number;
  /** Number of supervised tokens. */
  readonly tokens: number;
}

/** A few micro-batches of one adapter or of the model: what one call of the core evaluates of a run. */
export interface EvaluationPart {
  readonly microBatches: readonly NativeMicroBatch[];
  /** null: the model alone. */
  readonly adapter: NativeAdapter | null;
}

/** Sums over the supervised tokens of a part. */
export interface EvaluationSums {
  readonly nats: number;
  readonly supervisedTokens: number;
  readonly correctTokens: number;
}

/** Evaluates parts of one run alone. */
export async function sumsAlone(
  model: LanguageModel,
  { microBatches, adapter }: EvaluationPart,
  signal: AbortSignal | undefined,
  progress?: { stop: () => void },
): Promise<EvaluationSums> {
  const slot = adapter ? 1 : 0;
  const evaluating = () => model.native.evaluate(microBatches, adapter ? [adapter] : []);
  const { nats, supervisedTokens, correctTokens } = await runJob(evaluating, signal, progress);
  return { nats: nats[slot]!, supervisedTokens: supervisedTokens[slot]!, correctTokens: correctTokens[slot]! };
}

/** Micro-batches per native call: few, so that other calls of the same model do not wait long. */
const microBatchesOfACall = 4;

/**
 * Computes the loss of a model, with or without an adapter, on data.
 * @throws RubricateError ERR_ARGUMENT, ERR_DATA, ERR_CONTEXT_LENGTH, ERR_NOT_FINITE, ERR_ABORTED, ERR_DISPOSED
 */
export async function evaluate(
  model: LanguageModel,
  data: Dataset | readonly Example[],
  options: EvaluateOptions = {},
): Promise<Evaluation> {
  requireModel(model);
  const given = checkOptions(options, optionNames, "evaluate");
  const batchSize = given.batchSize ?? 8;
  checkBatchSize(batchSize);
  const signal = signalOf(given.signal);
  const onProgress = functionOf("onProgress", given.onProgress);
  adapterHandle(given.adapter, model);
  const source = await exampleSource(data, "data", model.architecture.vocabulary);
  requireFit(source, model.contextLength, "data", "the model's context");
  return evaluateSource(model, source, adapterHandle(given.adapter, model), { batchSize, signal, onProgress });
}

/** Like `evaluate`, with checked examples. @param options sums: evaluates a part; default: alone */
export async function evaluateSource(
  model: LanguageModel,
  source: ExampleSource,
  adapter: NativeAdapter | null,
  options: Pick<EvaluateOptions, "signal" | "onProgress"> & {
    readonly batchSize: number;
    readonly sums?: (part: EvaluationPart, signal: AbortSignal | undefined) => Promise<EvaluationSums>;
  },
): Promise<Evaluation> {
  const { batchSize, signal } = options;
  const progress = new Callback(options.onProgress);
  const sumsOf = options.sums ?? ((part, by) => sumsAlone(model, part, by, progress));
  const plan = await source.plan({ batchSize, shuffle: false, seed: 0, epoch: 0 });
  const slot = adapter ? 1 : 0;
  const load = (from: number) => {
    const count = Math.max(0, Math.min(microBatchesOfACall, plan.length - from));
    const loading = Promise.all(
      Array.from({ length: count }, async (_, at) =>
        microBatchOf(await source.examples(plan.batch(from + at)), slot, model.architecture.vocabulary),
      ),
    );
    loading.catch(() => {}); // reported by the `await` below; this avoids an unhandled rejection
    return loading;
  };
  const total = { nats: 0, supervised: 0, correct: 0, done: 0 };
  await progress.during(async () => {
    let loading = load(0);
    for (let at = 0; at < plan.length; at += microBatchesOfACall) {
      throwIfAborted(signal);
      const microBatches = await loading;
      loading = load(at + microBatchesOfACall);
      const sums = await sumsOf({ microBatches, adapter }, signal);
      total.nats += sums.nats;
      total.supervised += sums.supervisedTokens;
      total.correct += sums.correctTokens;
      for (const { sequenceStarts } of microBatches) total.done += sequenceStarts.length - 1;
      progress.tell({ done: total.done, total: plan.indices.length });
      progress.throwIfFailed();
    }
  });
  const loss = total.nats / total.supervised;
  if (!Number.isFinite(loss)) throw new RubricateError("ERR_NOT_FINITE", `The evaluation loss is ${loss}`);
  return { loss, perplexity: Math.exp(loss), accuracy: total.correct / total.supervised, tokens: total.supervised };
}
