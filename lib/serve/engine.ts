/** Many requests on one model, each with its own adapter. */
import { RubricateError } from "../errors";
import { generation } from "../generate/generation";
import type { GenerationPiece, GenerationResult } from "../generate/result";
import { type ScoreResult, scored } from "../generate/scoring";
import { presentVersion, type Served, type ServedCall, type Work } from "../generate/served";
import { type IteratedOnly, iteratedOnly, returned } from "../generators";
import type { LanguageModel } from "../model/model";
import { adapterHandle } from "../model_arguments";
import { AdapterRegistry, adapterSpec } from "./adapters";
import {
  type Asking,
  type EngineGenerateOptions,
  type EngineOptions,
  type EngineScoreOptions,
  engineSettings,
  generateSettings,
  scoreSettings,
} from "./engine_options";
import { Tenants } from "./tenants";

/** Counts of the engine's last step, and sums since its first. */
export interface EngineStats {
  /** Requests of this engine that have not ended, also those whose prompt is being encoded. */
  readonly requests: number;
  /** Those that have memory for keys and values, and those that wait for it; with generations of the model itself. */
  readonly running: number;
  readonly waiting: number;
  /** Pages of 64 positions: all, free ones, and ones whose keys and values can be found again. */
  readonly pages: number;
  readonly freePages: number;
  readonly cachedPages: number;
  readonly pageBytes: number;
  readonly steps: number;
  /** Tokens of prompts that were computed, also those computed again. */
  readonly promptTokens: number;
  /** Tokens of prompts whose keys and values were found in the cache. */
  readonly cachedTokens: number;
  readonly generatedTokens: number;
  /** Requests that gave up their memory for others, and were computed again. */
  readonly putOut: number;
  /** Milliseconds of the last step, and the different adapters in it. */
  readonly stepMs: number;
  readonly stepAdapters: number;
  /** Names of adapters in memory, and the bytes of all their versions. */
  readonly adapters: number;
  readonly adapterBytes: number;
}

/**
 * Serves many requests on one model: they share steps, whatever adapter each of them has, and what a request answers does
 * not depend on the others. The model's own `generate` and `complete` share them too.
 */
export class Engine {
  /** The adapters that requests can name. */
  readonly adapters: AdapterRegistry;
  private readonly model: LanguageModel;
  private readonly tenants = new Tenants();
  /** Requests that have not ended. */
  private readonly underWay = new Set<Work>();
  private readonly ended = new Set<() => void>();
  private state: "open" | "draining" | "closed" = "open";
  private closing: Promise<void> | undefined;

  /**
   * @throws RubricateError ERR_ARGUMENT, ERR_DISPOSED; ERR_STATE if the model has an Engine; ERR_BUSY while generations of
   * the model are under way
   */
  constructor(options: EngineOptions) {
    const { native, ...settings } = engineSettings(options);
    this.model = settings.model;
    this.model.engine.own(native);
    this.adapters = new AdapterRegistry(settings);
  }

  /**
   * As `LanguageModel.generate`, with the adapter's name, a tenant and a deadline. A reader that falls 256 tokens behind makes
   * its own request wait, and no other.
   * @throws RubricateError as that; ERR_ADAPTER_UNKNOWN, ERR_QUEUE_FULL, ERR_CACHE_FULL, ERR_DEADLINE; ERR_STATE while the
   * engine drains; ERR_ABORTED when it is closed; what `loadAdapter` throws
   */
  generate(options: EngineGenerateOptions): AsyncGenerator<GenerationPiece, GenerationResult, void> & IteratedOnly {
    const pieces = generation(this.model, (work) => this.generating(options, "generate", work));
    return iteratedOnly(pieces, "generate", "engine.complete(...)");
  }

  /** As `LanguageModel.complete`, with the options and errors of `generate`. */
  complete(options: EngineGenerateOptions): Promise<GenerationResult> {
    return returned(generation(this.model, (work) => this.generating(options, "complete", work)));
  }

  /** As `LanguageModel.score`, with the adapter's name, a tenant and a deadline, and the further errors of `generate`. */
  score(options: EngineScoreOptions): Promise<ScoreResult> {
    return scored(this.model, (work) => {
      this.requireTakes();
      const { asking, call } = scoreSettings(options, this.model);
      return this.serve(asking, call, work);
    });
  }

  /** @throws RubricateError ERR_DISPOSED */
  stats(): EngineStats {
    this.requireOpen();
    const resident = this.adapters.list().filter((one) => one.resident).length;
    const { computedTokens, foundTokens, versions, deviceVersionBytes: _, ...native } = this.model.engine.stats();
    return {
      requests: this.underWay.size,
      ...native,
      promptTokens: computedTokens,
      cachedTokens: foundTokens,
      stepAdapters: versions,
      adapters: resident,
      adapterBytes: this.adapters.bytes,
    };
  }

  /** Refuses new requests with ERR_STATE. Resolves when those under way have ended. */
  async drain(): Promise<void> {
    this.requireOpen();
    this.state = "draining";
    await this.allEnded();
  }

  /**
   * Ends the requests under way with ERR_ABORTED, and frees the engine's memory. Generations of the model itself go on, and
   * the model can have another Engine once they have ended.
   */
  close(): Promise<void> {
    this.closing ??= this.end();
    return this.closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  private async end(): Promise<void> {
    this.state = "closed";
    const closed = new RubricateError("ERR_ABORTED", "The engine was closed");
    for (const work of this.underWay) work.fail(closed);
    await this.allEnded();
    this.adapters.close();
    await this.model.engine.release();
  }

  /** @param what the method, for messages */
  private generating(given: EngineGenerateOptions, what: string, work: Work): Served {
    this.requireTakes();
    const { asking, call } = generateSettings(given, what, this.model);
    return this.serve(asking, call, work);
  }

  private serve<C extends ServedCall>({ adapter, tenant, weight, deadlineMs }: Asking, call: C, work: Work): Served<C> {
    const { model } = this;
    const spec = typeof adapter === "string" ? adapterSpec(adapter) : undefined;
    if (typeof adapter !== "string") adapterHandle(adapter, model);
    let released = () => {};
    const choose: Served<C>["choose"] = async (work) => {
      if (typeof adapter !== "string") return presentVersion(model, adapter, call, work);
      const { chosen, over } = await this.adapters.choose(spec!, call.signal, work);
      released = over;
      return chosen;
    };
    this.underWay.add(work);
    const over = () => {
      released();
      this.tenants.end(tenant);
      this.underWay.delete(work);
      if (this.underWay.size > 0) return;
      for (const resolve of this.ended) resolve();
      this.ended.clear();
    };
    return { call, tenant: this.tenants.begin(tenant), weight, deadlineMs, choose, over };
  }

  private async allEnded(): Promise<void> {
    while (this.underWay.size > 0) await new Promise<void>((resolve) => this.ended.add(resolve));
  }

  private requireTakes(): void {
    this.requireOpen();
    if (this.state === "draining")
      throw new RubricateError("ERR_STATE", "Expected an Engine that takes requests but it was asked to drain");
  }

  private requireOpen(): void {
    if (this.state === "closed")
      throw new RubricateError("ERR_DISPOSED", "Expected an Engine in use but it was closed");
  }
}
