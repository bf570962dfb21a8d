import { createHash } from "node:crypto";
import { stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import type { MatrixProduct } from "../binding/devices";
import type { ModelMemory } from "../binding/model";
import { modelBrand, requireModel } from "../brands";
import { invalid, RubricateError } from "../errors";
import { finishInto } from "../files/atomic";
import { readJson } from "../files/json";
import { present } from "../files/read";
import { type GenerateOptions, type GenerationPiece, type GenerationResult, generate } from "../generate/generation";
import { Callback, runJob, throwIfAborted } from "../job";
import { type NativeModel, native } from "../native";
import { type Notice, tell } from "../notices";
import { checkOptions, functionOf, type OptionNames, pathOf, signalOf } from "../options";
import { Tokenizer } from "../tokenizer/tokenizer";
import type { Architecture, ModelDescription } from "./architecture";
import { findCheckpoint } from "./checkpoint_files";
import { adapterHandle, checkedIds, type ModelAdapter } from "./checks";
import { ConfigReader } from "./config_reader";
import { type DeviceChoice, type ModelDevice, onDevice } from "./device";
import { describeLlama, withOwnHead } from "./llama";
import { saveModel } from "./save";

export type { ModelMemory } from "../binding/model";

export interface LoadOptions {
  /**
   * "auto" (the default) takes the first CUDA device, and the CPU where there is none or its memory does not do; "cuda",
   * which is "cuda:0", and "cuda:1" throw then.
   */
  readonly device?: DeviceChoice;
  /** Dtype of the computation: "auto" (the default) is as stored, with float16 computed in float32. */
  readonly dtype?: "auto" | "float32" | "bfloat16";
  /** Bytes of weights taken in so far, and in all. What it throws ends the loading, which rejects with it. */
  readonly onProgress?: (progress: { loadedBytes: number; totalBytes: number }) => void;
  /** Told what is unusual about the folder, as `LlamaModel.notices` says it. Default: `process.emitWarning`. */
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
  /** A RedAdapter that was created or loaded for this model object. Default: the model alone. */
  readonly adapter?: ModelAdapter | null;
  readonly signal?: AbortSignal;
}

const logitsOptionNames: OptionNames<LogitsOptions> = { adapter: true, signal: true };

/** A base model's identity: an adapter fits where both parts are equal. SHA-256, hexadecimal. */
export interface BaseFingerprint {
  /** Of the architecture document. */
  readonly architecture: string;
  /** Of names, shapes and samples of all tensors; independent of how the checkpoint is split into files. */
  readonly weights: string;
}

/**
 * A LLaMA (1, 2 or 3) on this machine. It owns one native thread; every asynchronous call is queued to it and runs beside
 * the event loop. Dispose of it when done; the garbage collector is the safety net.
 */
export class LlamaModel {
  /** @internal */
  readonly [modelBrand] = true;
  private fingerprintPromise: Promise<BaseFingerprint> | undefined;
  private disposed = false;

  private constructor(
    /** Absolute path of the folder that it was loaded from. */
    readonly dir: string,
    private readonly description: ModelDescription,
    private readonly handle: NativeModel,
    /** undefined where the folder has no tokenizer.json: feed token ids then. */
    readonly tokenizer: Tokenizer | undefined,
    /** Where it runs, and with device "auto" why not on a GPU. */
    readonly device: ModelDevice,
    /** Ids that end a text: generation_config.json's, or without that file config.json's; and the tokenizer's. */
    readonly eosTokenIds: readonly number[],
    /** What is unusual about the folder that it was loaded from. */
    readonly notices: readonly Notice[],
  ) {}

  /**
   * Loads a Hugging Face folder: config.json, safetensors (one file, or shards with an index), and tokenizer.json where
   * there is one. The weights are mapped and used in place; for a CUDA device they are copied there, in the dtype that they
   * are stored in.
   * @throws RubricateError ERR_FILE, ERR_CONFIG, ERR_JSON, ERR_SAFETENSORS, ERR_TENSOR_MISSING, ERR_TENSOR_UNEXPECTED,
   * ERR_SHAPE, ERR_DTYPE, ERR_TOKENIZER, ERR_DEVICE, ERR_DEVICE_LOST, ERR_OUT_OF_MEMORY, ERR_ABORTED
   */
  static async fromPretrained(dir: string, given: LoadOptions = {}): Promise<LlamaModel> {
    pathOf("dir", dir);
    const options = checkOptions(given, loadOptionNames, "LlamaModel.fromPretrained");
    const signal = signalOf(options.signal);
    const progress = new Callback(functionOf("onProgress", options.onProgress));
    const onNotice = functionOf("onNotice", options.onNotice);
    const dtype = options.dtype ?? "auto";
    if (!["auto", "float32", "bfloat16"].includes(dtype))
      throw invalid("dtype", '"auto", "float32" or "bfloat16"', dtype);
    throwIfAborted(signal);
    const folder = resolve(dir);
    const info = await stat(folder).catch((cause: Error) => {
      throw new RubricateError("ERR_FILE", `Expected a model folder at ${folder}: ${cause.message}`, { cause });
    });
    if (!info.isDirectory())
      throw new RubricateError("ERR_FILE", `Expected a model folder at ${folder} but it is a file`);
    await finishInto(folder);
    const configPath = join(folder, "config.json");
    const configured = describeLlama(await readConfig(folder, configPath), configPath);
    const { headDiffers, ...checkpoint } = await findCheckpoint(folder, configured, signal);
    const description = headDiffers ? withOwnHead(configured) : configured;
    const hasTokenizer = await present(join(folder, "tokenizer.json"));
    const tokenizer = hasTokenizer ? await Tokenizer.fromPretrained(folder) : undefined;
    const eosTokenIds = await endTokens(folder, description, tokenizer);
    const notices = [
      ...(headDiffers ? [headNotTied(folder)] : []),
      ...(tokenizer && eosTokenIds.length === 0 ? [noEndToken(folder)] : []),
    ];
    const spec = {
      architecture: JSON.stringify(description.architecture),
      ...checkpoint,
      compute: dtype === "auto" ? undefined : dtype,
      onProgress:
        options.onProgress && ((loadedBytes: number, totalBytes: number) => progress.tell({ loadedBytes, totalBytes })),
    };
    tell(notices, onNotice);
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
      return new LlamaModel(folder, description, handle!, tokenizer, device, eosTokenIds, notices);
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

  get vocabularySize(): number {
    return this.architecture.vocabulary;
  }

  get layerCount(): number {
    return this.architecture.stacks[0].layers;
  }

  /** Parameters of the model, tied ones counted once. */
  get parameterCount(): number {
    return this.description.parameterCount;
  }

  get bosTokenId(): number | undefined {
    return this.description.bosTokenId;
  }

  /** @throws RubricateError ERR_TOKENIZER where the folder has none */
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

  /** Identity of the base, computed once. It changes when full fine-tuning changes the weights (see `forgetFingerprint`). */
  fingerprint(): Promise<BaseFingerprint> {
    if (this.fingerprintPromise) return this.fingerprintPromise;
    const computing = runJob(() => this.native.fingerprintBytes()).then((bytes) => ({
      architecture: sha256(JSON.stringify(this.architecture)),
      weights: sha256(bytes),
    }));
    this.fingerprintPromise = computing;
    // A failure is not remembered: the next call tries again.
    computing.catch(() => {
      if (this.fingerprintPromise === computing) this.fingerprintPromise = undefined;
    });
    return computing;
  }

  /** For who changed the weights. @internal */
  forgetFingerprint(): void {
    this.fingerprintPromise = undefined;
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
   * Continues a prompt, a conversation or token ids, piece by piece. The generator's return value sums it up.
   * @throws RubricateError ERR_ARGUMENT, ERR_CONTEXT_LENGTH, ERR_TOKENIZER, ERR_TEMPLATE, ERR_NOT_FINITE, ERR_ABORTED
   */
  generate(options: GenerateOptions): AsyncGenerator<GenerationPiece, GenerationResult, void> {
    return generate(this, options);
  }

  /**
   * Writes the model's folder: configuration, tokenizer files, and the weights in one safetensors file, in the dtype that
   * the checkpoint has, as full fine-tuning left them. All or nothing.
   * @throws RubricateError ERR_FILE, ERR_ARGUMENT, ERR_NOT_FINITE, ERR_DISPOSED
   */
  async savePretrained(dir: string): Promise<void> {
    pathOf("dir", dir);
    await saveModel(this.native, this.dir, this.description.tensors, resolve(dir));
  }

  memory(): ModelMemory {
    return this.native.memory();
  }

  /** What its CUDA device has multiplied in this process, all models there taken together, and who did it; empty on the CPU. */
  products(): MatrixProduct[] {
    return this.native.products();
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

/** @throws RubricateError ERR_FILE, also where the folder is an adapter's; ERR_JSON */
async function readConfig(folder: string, path: string): Promise<unknown> {
  if (!(await present(path)) && (await present(join(folder, "adapter_config.json"))))
    throw new RubricateError(
      "ERR_FILE",
      `Expected a model folder at ${folder} but it is an adapter's: load its base as the model and give this beside it`,
    );
  return readJson(path);
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
 * Ids that end a text. As in transformers, generation_config.json comes before config.json where there is one, whatever it
 * says; the token that the tokenizer ends a text with, and training teaches, always counts.
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
