/** The engine of a model: its requests share steps. A model has at most one. */
import { RubricateError } from "../errors";
import { runJob } from "../job";
import type { NativeEngine, NativeEngineOptions, NativeEngineRequest, NativeEngineStats, NativeModel } from "../native";
import { Outputs, RequestStream } from "./outputs";

/** A request, but for what the model adds. */
export type EngineRequest = Omit<NativeEngineRequest, "domain">;

/** The native engine, and the requests that it has. */
class RunningEngine {
  readonly outputs: Outputs;
  readonly native: NativeEngine;

  constructor(
    model: NativeModel,
    readonly options: NativeEngineOptions,
    onIdle: () => void,
  ) {
    const outputs = new Outputs(onIdle);
    this.outputs = outputs;
    this.native = model.createEngine(options, (rows, numbers, failures) => outputs.hand(rows, { numbers, failures }));
  }

  submit(request: NativeEngineRequest): RequestStream {
    const id = this.native.submit(request);
    const { maxSequences, maxQueue } = this.options;
    if (id < 0)
      throw new RubricateError(
        "ERR_QUEUE_FULL",
        `Expected at most ${maxSequences + maxQueue} requests under way (maxSequences ${maxSequences} and maxQueue ` +
          `${maxQueue}) but received one more`,
      );
    const stream = new RequestStream(this.native, id);
    this.outputs.add(id, stream);
    return stream;
  }
}

/** While an engine is being closed for another one. */
const noSteps: NativeEngineStats = {
  running: 0,
  waiting: 0,
  pages: 0,
  freePages: 0,
  cachedPages: 0,
  pageBytes: 0,
  steps: 0,
  computedTokens: 0,
  generatedTokens: 0,
  foundTokens: 0,
  putOut: 0,
  stepMs: 0,
  versions: 0,
  deviceVersionBytes: 0,
};

/** An engine that nobody uses is closed after this time: it has memory of keys and values. */
const idleMs = 10_000;

export class ModelEngine {
  private running: RunningEngine | undefined;
  /** While an engine is being closed, so that the next one can be made. */
  private closing: Promise<void> | undefined;
  private owned: NativeEngineOptions | undefined;
  private idleTimer: NodeJS.Timeout | undefined;
  /** How often the weights changed. Keys and values of other weights must not be found. */
  private weights = 0;

  /**
   * @param model gives the model's handle; throws ERR_DISPOSED
   * @param defaults options of the engine of a model that no `Engine` uses
   */
  constructor(
    private readonly model: () => NativeModel,
    private readonly defaults: () => NativeEngineOptions,
  ) {}

  /**
   * Starts a request.
   * @throws RubricateError ERR_QUEUE_FULL, ERR_CACHE_FULL, ERR_DISPOSED
   */
  async submit(request: EngineRequest): Promise<RequestStream> {
    while (this.closing) await this.closing;
    const model = this.model(); // its error comes before those of the engine
    return this.started(model).submit({ ...request, domain: this.weights * 2 ** 32 + request.tenant });
  }

  /**
   * From now on requests run with these options, until `release`.
   * @throws RubricateError ERR_STATE if there is an owner, ERR_BUSY while requests are under way
   */
  own(options: NativeEngineOptions): void {
    void this.model();
    if (this.owned)
      throw new RubricateError("ERR_STATE", "Expected a model without an Engine: close() the Engine that it has first");
    const count = this.running?.outputs.count ?? 0;
    if (count > 0)
      throw new RubricateError(
        "ERR_BUSY",
        `Expected a model without generations under way for a new Engine but ${count} have not ended`,
      );
    this.owned = options;
    void this.close();
  }

  /** Ends `own`. What others ask of the model runs to its end. */
  async release(): Promise<void> {
    this.owned = undefined;
    if (this.running?.outputs.count === 0) await this.close();
  }

  /** To be called after the weights changed. */
  forgetKeys(): void {
    this.weights = (this.weights + 1) % 2 ** 20;
  }

  /** Of the owner's engine, which this makes if it was not needed yet. */
  stats(): NativeEngineStats {
    const model = this.model();
    if (this.closing) return noSteps;
    return this.started(model).native.stats();
  }

  private started(model: NativeModel): RunningEngine {
    clearTimeout(this.idleTimer);
    this.running ??= new RunningEngine(model, this.owned ?? this.defaults(), ModelEngine.idleCall(this));
    return this.running;
  }

  /** Closes an engine that nobody owns, some time after its last request. */
  private idle(): void {
    clearTimeout(this.idleTimer);
    if (this.owned) return;
    const held = new WeakRef(this);
    const close = () => {
      const engine = held.deref();
      if (!engine || engine.owned || engine.running?.outputs.count !== 0) return;
      void engine.close();
    };
    this.idleTimer = setTimeout(close, idleMs).unref();
  }

  /** Calls `idle`, and holds the engine weakly: the core holds this function. */
  private static idleCall(engine: ModelEngine): () => void {
    const held = new WeakRef(engine);
    return () => held.deref()?.idle();
  }

  private async close(): Promise<void> {
    clearTimeout(this.idleTimer);
    const { running } = this;
    if (!running) return this.closing;
    this.running = undefined;
    const closed = () => {
      this.closing = undefined; // what fails, as for a model that was disposed of, fails again for the next request
    };
    this.closing = runJob(() => running.native.close()).then(closed, closed);
    return this.closing;
  }
}
