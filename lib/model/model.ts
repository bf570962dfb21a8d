import { createHash } from "node:crypto";
import { join, resolve } from "node:path";
import type { MatmulRecord } from "../binding/devices";
import type { ModelMemory } from "../binding/model";
import { modelBrand, requireModel } from "../brands";
import { markCopy } from "../copies";
import { invalid, RubricateError } from "../errors";
import { readJson } from "../files/json";
import { requireFolder } from "../files/not_a_folder";
import { present } from "../files/read";
import { finishInto } from "../files/read_together";
import { complete, generate, score } from "../generate/calls";
import { modelEngineOptions } from "../generate/engine_size";
import { ModelEngine } from "../generate/model_engine";
import type { GenerateOptions } from "../generate/options";
import type { GenerationPiece, GenerationResult } from "../generate/result";
import type { ScoreOptions, ScoreResult } from "../generate/scoring";
import type { IteratedOnly } from "../generators";
import { Callback, runJob, throwIfAborted } from "../job";
import { lazily } from "../lazily";
import { adapterHandle, checkedIds, type ModelAdapter } from "../model_arguments";
import { type NativeModel, native } from "../native";
import { type Notice, reportNotices } from "../notices";
import { checkOptions, functionOf, type OptionNames, pathOf, signalOf } from "../options";
import type * as tokenizerModule from "../tokenizer/tokenizer";
import type { Tokenizer } from "../tokenizer/tokenizer";
import type { Architecture, ModelDescription } from "./architecture";
import { findCheckpoint } from "./checkpoint_files";
import { readConfig } from "./config_file";
import { ConfigReader } from "./config_reader";
import { type DeviceChoice, type ModelDevice, onDevice } from "./device";
import { describeModel } from "./families";
import { saveModel } from "./save";
import { withOwnHead } from "./tensors";

export type { ModelMemory } from "../binding/model";
export type { ModelAdapter } from "../model_arguments";

/** Loaded when it is first used: a program that works on token ids needs none of it. */
const tokenizers = lazily(() => require("../tokenizer/tokenizer") as typeof tokenizerModule);

export interface LoadOptions {
  /**
   * "auto" (the default): the first CUDA device, or the CPU if there is none or its memory is too small. With "cuda" (the
   * same as "cuda:0") or "cuda:N" that is an error.
   */
  readonly device?: DeviceChoice;
  /** Dtype of the computation: "auto" (the default) is as stored, with float16 computed in float32. */
  readonly dtype?: "auto" | "float32" | "bfloat16";
  /** Called with the bytes of weights loaded so far and in total. If it throws, the loading ends and rejects with that. */
  readonly onProgress?: (progress: { loadedBytes: number; totalBytes: number }) => void;
  /** Called with each notice about the folder; see `LanguageModel.notices`. Default: `process.emitWarning`. */
  readonly onNotice?: (notice: Notice) => void;
  readonly signal?: AbortSignal;
}

const loadOptionNames: OptionNames<LoadOptions> = {
  device: true,
  dtype: true,
  onProgress: true,
  onNotice: true,
  signal: true,
};

export interface LogitsOptions {
  /** A RedAdapter, LoraAdapter or Ia3Adapter that was created or loaded for this model object. Default: only the model. */
  readonly adapter?: ModelAdapter | null;
  readonly signal?: AbortSignal;
}

const logitsOptionNames: OptionNames<LogitsOptions> = { adapter: true, signal: true };

/** A base model's identity: an adapter fits if both parts are equal. SHA-256, hexadecimal. */
export interface BaseFingerprint {
  /** Of the architecture document. */
  readonly architecture: string;
  /** Of names, shapes and samples of all tensors; independent of how the checkpoint is split into files. */
  readonly weights: string;
}

/**
 * A language model on this machine: a LLaMA, Mistral, Qwen2, Qwen3, Phi-3 or GPT-2 (docs/families.md). It owns one native thread, to which every asynchronous call is queued. Dispose of it
 * when done; otherwise the garbage collector frees it.
 */
export class LanguageModel {
  static {
    markCopy(LanguageModel);
  }

  /** @internal */
  readonly [modelBrand] = true;
  /** What its generations run on. @internal */
  readonly engine = new ModelEngine(
    () => this.native,
    () => modelEngineOptions(this),
  );
  private fingerprintPromise: Promise<BaseFingerprint> | undefined;
  private disposed = false;

  private constructor(
    /** Absolute path of the folder that it was loaded from. */
    readonly dir: string,
    /** @internal */
    readonly description: ModelDescription,
    private readonly handle: NativeModel,
    /** undefined if the folder has no tokenizer.json: then use token ids. */
    readonly tokenizer: Tokenizer | undefined,
    /** Its device, and with device "auto" why no GPU is used. */
    readonly device: ModelDevice,
    /** Ids that end a text: those of generation_config.json, or without that file of config.json; and the tokenizer's. */
    readonly eosTokenIds: readonly number[],
    /** Notices about the folder that it was loaded from. */
    readonly notices: readonly Notice[],
  ) {}

  /**
   * Loads a Hugging Face folder: config.json, safetensors (one file, or shards with an index), and tokenizer.json if there
   * is one. The weights are memory-mapped and used in place; for a CUDA device they are copied to it in their stored dtype.
   * @throws RubricateError ERR_FILE, ERR_CONFIG, ERR_JSON, ERR_SAFETENSORS, ERR_TENSOR_MISSING, ERR_TENSOR_UNEXPECTED,
   * ERR_SHAPE, ERR_DTYPE, ERR_TOKENIZER, ERR_DEVICE, ERR_DEVICE_LOST, ERR_OUT_OF_MEMORY, ERR_ABORTED
   */
  static async fromPretrained(dir: string, given: LoadOptions = {}): Promise<LanguageModel> {
    pathOf("dir", dir);
    const options = checkOptions(given, loadOptionNames, "LanguageModel.fromPretrained");
    const signal = signalOf(options.signal);
    const progress = new Callback(functionOf("onProgress", options.onProgress));
    const onNotice = functionOf("onNotice", options.onNotice);
    const dtype = options.dtype ?? "auto";
    if (!["auto", "float32", "bfloat16"].includes(dtype))
      throw invalid("dtype", '"auto", "float32" or "bfloat16"', dtype);
    throwIfAborted(signal);
    const folder = resolve(dir);
    await requireFolder("model", folder, dir);
    await finishInto(folder);
    const configPath = join(folder, "config.json");
    const configured = describeModel(await readConfig(folder, configPath), configPath);
    const { headDiffers, ...checkpoint } = await findCheckpoint(folder, configured, signal);
    const description = headDiffers ? withOwnHead(configured) : configured;
    const hasTokenizer = await present(join(folder, "tokenizer.json"));
    const tokenizer = hasTokenizer ? await tokenizers().Tokenizer.load(folder, signal) : undefined;
    const eosTokenIds = await endTokens(folder, description, tokenizer);
    const notices = [
      ...(headDiffers ? [headNotTied(folder)] : []),
      ...(tokenizer?.parts.notices ?? []),
      ...(tokenizer && eosTokenIds.length === 0 ? [noEndToken(folder)] : []),
    ];
    const spec = {
      architecture: JSON.stringify(description.architecture),
      ...checkpoint,
      compute: dtype === "auto" ? undefined : dtype,
      onProgress:
        options.onProgress && ((loadedBytes: number, totalBytes: number) => progress.tell({ loadedBytes, totalBytes })),
    };
    reportNotices(notices, onNotice);
    return onDevice(options.device ?? "auto", async (device) => {
      let handle: NativeModel | undefined;
      try {
        await progress.during(async () => {
          handle = await runJob(() => native().loadModel({ ...spec, device: device.index }), signal, progress);
        });
      } catch (error) {
        handle?.dispose();
        throw error;
      }
      return new LanguageModel(folder, description, handle!, tokenizer, device, eosTokenIds, notices);
    });
  }

  get architecture(): Architecture {
    return this.description.architecture;
  }

  /** Dtype of the computation. */
  get dtype(): "float32" | "bfloat16" {
    return this.native.compute;
  }

  get contextLength(): number {
    return this.architecture.context;
  }

  /**
   * The sliding window: how many tokens a token sees at most, itself among them, in the layers that have a window
   * (`architecture.stacks[0].attention.window_layers`, or all); undefined if no layer has one.
   */
  get slidingWindow(): number | undefined {
    return this.architecture.stacks[0].attention.window;
  }

  get vocabularySize(): number {
    return this.architecture.vocabulary;
  }

  get layerCount(): number {
    return this.architecture.stacks[0].layers;
  }

  /** Number of parameters; tied ones count once. */
  get parameterCount(): number {
    return this.description.parameterCount;
  }

  get bosTokenId(): number | undefined {
    return this.description.bosTokenId;
  }

  /** @throws RubricateError ERR_TOKENIZER if the folder has none */
  requireTokenizer(): Tokenizer {
    if (this.tokenizer) return this.tokenizer;
    throw new RubricateError(
      "ERR_TOKENIZER",
      `Expected tokenizer.json in ${this.dir} but there is none: text needs a tokenizer; token ids can be used without one`,
    );
  }

  /** The handle of the native core. @internal */
  get native(): NativeModel {
    if (this.disposed) throw new RubricateError("ERR_DISPOSED", "Expected a model in use but it was disposed of");
    return this.handle;
  }

  /** Identity of the base, computed once, and again after full fine-tuning changed the weights (see `forgetFingerprint`). */
  fingerprint(): Promise<BaseFingerprint> {
    if (this.fingerprintPromise) return this.fingerprintPromise;
    const computing = runJob(() => this.native.fingerprintBytes()).then((bytes) => ({
      architecture: sha256(JSON.stringify(this.architecture)),
      weights: sha256(bytes),
    }));
    this.fingerprintPromise = computing;
    // A failure is not cached: the next call tries again.
    computing.catch(() => {
      if (this.fingerprintPromise === computing) this.fingerprintPromise = undefined;
    });
    return computing;
  }

  /** To be called after the weights changed. @internal */
  forgetFingerprint(): void {
    this.fingerprintPromise = undefined;
    this.engine.forgetKeys();
  }

  /**
   * Logits of every position of one sequence.
   * @param tokenIds 1 to contextLength ids
   * @returns fp32 [tokens, vocabularySize], row-major
   * @throws RubricateError ERR_ARGUMENT, ERR_CONTEXT_LENGTH, ERR_ABORTED, ERR_DISPOSED
   */
  async logits(tokenIds: ArrayLike<number>, given: LogitsOptions = {}): Promise<Float32Array> {
    requireModel(this);
    const options = checkOptions(given, logitsOptionNames, "logits");
    const signal = signalOf(options.signal);
    const adapter = adapterHandle(options.adapter, this);
    const ids = checkedIds(tokenIds, this, { prompt: false });
    const batch = {
      tokenIds: ids,
      sequenceStarts: Int32Array.of(0, ids.length),
      slots: Int32Array.of(adapter ? 1 : 0),
    };
    return runJob(() => this.native.logits(batch, adapter ? [adapter] : []), signal);
  }

  /**
   * Continues a prompt, a conversation or token ids, and yields the text in pieces. The generator returns the result; it
   * starts, and copies its options, when it is first iterated, and cannot be awaited: for the whole result, await `complete`.
   * @throws RubricateError ERR_ARGUMENT, ERR_CONTEXT_LENGTH, ERR_TOKENIZER, ERR_TEMPLATE, ERR_NOT_FINITE, ERR_ABORTED,
   * ERR_DISPOSED, ERR_STATE if the generator is awaited
   */
  generate(options: GenerateOptions): AsyncGenerator<GenerationPiece, GenerationResult, void> & IteratedOnly {
    return generate(this, options);
  }

  /**
   * Continues a prompt, a conversation or token ids, and gives the whole result. The same options as `generate`, copied when
   * the call is made; the signal stops it.
   * @throws RubricateError ERR_ARGUMENT, ERR_CONTEXT_LENGTH, ERR_TOKENIZER, ERR_TEMPLATE, ERR_NOT_FINITE, ERR_ABORTED,
   * ERR_DISPOSED
   */
  complete(options: GenerateOptions): Promise<GenerationResult> {
    return complete(this, options);
  }

  /**
   * Log-probabilities of a given continuation. It shares steps with all other requests, and generates nothing; what it gives does
   * not depend on them: the bits are those of the request alone, of the same tokens' `logProbabilities` in a generation, and of
   * the loss in training (on the CPU; on a GPU with `RUBRICATE_MATMUL=own`).
   * @throws RubricateError as `complete`; ERR_CONTEXT_LENGTH if prompt and continuation do not fit together; ERR_NOT_FINITE if a
   * log-probability is not a finite number
   */
  score(options: ScoreOptions): Promise<ScoreResult> {
    return score(this, options);
  }

  /**
   * Writes the model's folder: configuration, tokenizer files, and the weights in one safetensors file, in the checkpoint's
   * dtype, including changes by full fine-tuning. Atomic.
   * @throws RubricateError ERR_FILE, ERR_ARGUMENT, ERR_NOT_FINITE, ERR_DISPOSED
   */
  async savePretrained(dir: string): Promise<void> {
    pathOf("dir", dir);
    await saveModel(this.native, this.dir, this.description, resolve(dir));
  }

  memory(): ModelMemory {
    return this.native.memory();
  }

  /** Matmuls that its CUDA device has run in this process, for all models there, with their provider; empty on the CPU. */
  matmuls(): MatmulRecord[] {
    return this.native.matmuls();
  }

  /** Stops its jobs (they reject with ERR_ABORTED) and frees its memory. Further calls throw ERR_DISPOSED. */
  dispose(): void {
    if (this.disposed) return;
    this.disposed = true;
    this.handle.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

function sha256(data: string | Uint8Array): string {
  return createHash("sha256").update(data).digest("hex");
}

const headNotTied = (folder: string): Notice => ({
  code: "RUBRICATE_HEAD_NOT_TIED",
  message:
    `config.json in ${folder} ties the head to the embedding table, but the checkpoint's lm_head.weight differs from ` +
    "embed_tokens.weight: each is used as it is stored, as transformers uses them; with tie_word_embeddings false config.json would say so",
});

const noEndToken = (folder: string): Notice => ({
  code: "RUBRICATE_NO_END_TOKEN",
  message: `The files of ${folder} name no token that ends a text (eos_token, eos_token_id): generation goes on to its limit, and training puts none behind texts and completions`,
});

/**
 * Ids that end a text. As in transformers, generation_config.json, if there is one, overrides config.json, even if it has
 * none; the token with which the tokenizer ends a text, which training teaches, is always one of them.
 */
async function endTokens(
  folder: string,
  description: ModelDescription,
  tokenizer: Tokenizer | undefined,
): Promise<number[]> {
  const path = join(folder, "generation_config.json");
  const configured = (await present(path))
    ? ConfigReader.of(await readJson(path), path).ids("eos_token_id")
    : description.eosTokenIds;
  return [...new Set([...configured, ...(tokenizer?.eosTokenIds ?? [])])];
}

/** The same class under the name that it had when LLaMA was the only family. */
export const LlamaModel = LanguageModel;
/** As the class of this name. */
export type LlamaModel = LanguageModel;
