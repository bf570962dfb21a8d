/**
 * A fake native core, for tests of lib/adapter and lib/train without the real one: an adapter is a few numbers, and its
 * loss at a token is a parabola. Every step depends on parameters, moments, step count and data.
 */
import { readFileSync } from "node:fs";
import { elementCount } from "../../lib/adapter/files";
import type { AdapterPlan } from "../../lib/adapter/plan";
import { redPlan } from "../../lib/adapter/red_plan";
import { modelBrand } from "../../lib/brands";
import { RubricateError } from "../../lib/errors";
import type {
  NativeBinding,
  NativeJob,
  NativeMicroBatch,
  NativeSums,
  NativeTenantOutcome,
  NativeTrainRequest,
} from "../../lib/native";

export const hooks: {
  /** Called as a step or an evaluation begins; may throw, or abort something. */
  onJob?: ((kind: "step" | "evaluate") => void) | undefined;
  /** Called as a step begins, with its number of tenants; may throw. */
  onStep?: ((tenants: number) => void) | undefined;
  /** Called as an evaluation begins, with its adapters; may throw. */
  onEvaluate?: ((adapters: readonly unknown[]) => void) | undefined;
  cpuPath: string;
  steps: number;
} = { cpuPath: "fake", steps: 0 };

/** A job that runs in the next iteration of the event loop, unless it is cancelled first. */
function job<T>(work: () => T): NativeJob<T> {
  let cancelled = false;
  const promise = new Promise<T>((resolve, reject) => {
    setImmediate(() => {
      if (cancelled) return reject(new RubricateError("ERR_ABORTED", "stopped"));
      try {
        resolve(work());
      } catch (error) {
        reject(error);
      }
    });
  });
  return { promise, cancel: () => (cancelled = true) };
}

const architecture = {
  version: 1,
  family: "llama",
  vocabulary: 50,
  hidden: 4,
  context: 32,
  stacks: [
    {
      layers: 3,
      attention: { heads: 1, kv_heads: 1, head_dim: 4 },
      feed_forward: { kind: "swiglu", size: 4, bias: false },
    },
  ],
};

const fakePlan = JSON.stringify(redPlan(architecture as never, { variant: "all", sites: ["ffn"], layers: [0] }));

export class FakeAdapter {
  readonly names: string[];
  readonly shapes: number[][];
  current: Float32Array;
  grads: Float32Array;
  disposed = false;

  /** Without a plan: RED's vectors after the feed-forward of layer 0. */
  constructor(_ = "", plan = fakePlan) {
    const { parameters } = JSON.parse(plan) as AdapterPlan;
    this.names = parameters.map(({ name }) => name);
    this.shapes = parameters.map(({ shape }) => [...shape]);
    this.current = Float32Array.from(
      parameters.flatMap(({ shape, start }) => new Array<number>(elementCount(shape)).fill(start)),
    );
    this.grads = new Float32Array(this.current.length);
  }

  values = () => this.current.slice();
  gradients = () => this.grads.slice();
  setValues(values: Float32Array) {
    this.current = values.slice();
  }
  dispose() {
    this.disposed = true;
  }
}

export class FakeOptimizer {
  step = 0;
  m: Float32Array;
  v: Float32Array;
  constructor(parameters: FakeAdapter) {
    this.m = new Float32Array(parameters.current.length);
    this.v = new Float32Array(parameters.current.length);
  }
  prepare = () => ({ promise: Promise.resolve(undefined), cancel: () => {} });
  moments = (start = 0, count = this.m.length - start) => ({
    m: this.m.slice(start, start + count),
    v: this.v.slice(start, start + count),
  });
  setMoments(step: number, m: Float32Array, v: Float32Array, start = 0) {
    this.step = step;
    this.m.set(m, start);
    this.v.set(v, start);
  }
  dispose() {}
}

/** The loss at a target: the distance of a parameter (chosen by the target) from a point (chosen by the token). */
function* losses(adapter: FakeAdapter, { tokenIds, targets, sequenceStarts, slots }: NativeMicroBatch, slot = 1) {
  let sequence = 0;
  for (const [row, target] of targets.entries()) {
    if (row >= sequenceStarts[sequence + 1]!) sequence++;
    if (target < 0 || slots![sequence] !== slot) continue;
    const index = (target * 7 + tokenIds[row]!) % adapter.current.length;
    const away = adapter.current[index]! - (tokenIds[row]! % 5) / 3;
    yield { index, away, loss: away * away };
  }
}

function faultOf(nats: number, count: number): RubricateError | undefined {
  if (count === 0) return new RubricateError("ERR_DATA", "Expected at least one supervised token");
  return Number.isFinite(nats) ? undefined : new RubricateError("ERR_NOT_FINITE", "The loss is not finite");
}

function trainStep({ tenants, microBatches }: NativeTrainRequest): NativeTenantOutcome[] {
  hooks.onJob?.("step");
  hooks.onStep?.(tenants.length);
  const first = microBatches[0]!.slots![0] === 0 ? 0 : 1; // 0: the model's own weights
  const outcomes = tenants.map((tenant, at) => stepOf(tenant as never, first + at, microBatches));
  if (outcomes.length === 1 && outcomes[0]!.error) throw outcomes[0]!.error;
  hooks.steps++;
  return outcomes;
}

interface FakeTenant {
  readonly parameters: FakeAdapter;
  readonly optimizer: FakeOptimizer;
  readonly options: { readonly learningRate: number };
}

function stepOf(
  { parameters, optimizer, options }: FakeTenant,
  slot: number,
  microBatches: readonly NativeMicroBatch[],
): NativeTenantOutcome {
  const grads = new Float32Array(parameters.current.length);
  let [nats, count] = [0, 0];
  for (const batch of microBatches)
    for (const { index, away, loss } of losses(parameters, batch, slot)) {
      nats += loss;
      count++;
      grads[index] = grads[index]! + 2 * away;
    }
  const error = faultOf(nats, count);
  if (error) return { loss: 0, supervisedTokens: 0, correctTokens: 0, gradNorm: 0, error };
  optimizer.step++;
  for (const [at, sum] of grads.entries()) {
    const grad = sum / count;
    optimizer.m[at] = 0.9 * optimizer.m[at]! + 0.1 * grad;
    optimizer.v[at] = 0.99 * optimizer.v[at]! + 0.01 * grad * grad;
    const corrected = Math.sqrt(optimizer.v[at]! / (1 - 0.99 ** optimizer.step)) + 1e-8;
    parameters.current[at] = parameters.current[at]! - (options.learningRate * optimizer.m[at]!) / corrected;
  }
  parameters.grads = grads;
  const gradNorm = Math.hypot(...grads);
  const correctTokens = Math.floor(count / 2);
  return { loss: nats / count, supervisedTokens: count, correctTokens, gradNorm, error: undefined };
}

function evaluate(microBatches: readonly NativeMicroBatch[], adapters: readonly FakeAdapter[]): NativeSums {
  hooks.onJob?.("evaluate");
  hooks.onEvaluate?.(adapters);
  const zeros = () => new Float64Array(adapters.length + 1);
  const sums = [zeros(), zeros(), zeros()] as const;
  for (const [at, adapter] of adapters.entries())
    for (const batch of microBatches)
      for (const { loss } of losses(adapter, batch, at + 1)) {
        sums[0][at + 1]! += loss;
        sums[1][at + 1]! += 1;
      }
  return { nats: sums[0], supervisedTokens: sums[1], correctTokens: sums[2] };
}

/** Reads well-formed files and refuses truncated ones; the native core has the checks of the header. */
function readSafetensors(path: string) {
  const bytes = readFileSync(path);
  const fail = (why: string) => new RubricateError("ERR_SAFETENSORS", `${path}: ${why}`);
  if (bytes.length < 8) throw fail("too short");
  const length = Number(bytes.readBigUInt64LE());
  if (length % 8 !== 0 || 8 + length > bytes.length) throw fail("header does not fit");
  const header = JSON.parse(bytes.subarray(8, 8 + length).toString()) as Record<
    string,
    { dtype: string; shape: number[]; data_offsets: [number, number] }
  >;
  const tensors = new Map<string, { dtype: string; shape: number[]; data: Uint8Array }>();
  let end = 0;
  for (const [name, { dtype, shape, data_offsets }] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    if (data_offsets[0] !== end) throw fail("a hole");
    end = data_offsets[1];
    if (8 + length + end > bytes.length) throw fail("truncated");
    tensors.set(name, { dtype, shape, data: bytes.subarray(8 + length + data_offsets[0], 8 + length + end) });
  }
  if (8 + length + end !== bytes.length) throw fail("too long");
  return { metadata: {}, tensors };
}

export function native(): NativeBinding {
  return {
    version: "0.0.0",
    cpu: () => ({ path: hooks.cpuPath, supported: [hooks.cpuPath], threads: 1, splitRegions: 0 }),
    readSafetensors: (path: string) => job(() => readSafetensors(path)),
    Adapter: FakeAdapter,
    Optimizer: FakeOptimizer,
  } as never;
}

/** The part of a LanguageModel that adapters and training use. */
export function fakeModel(changes: object = {}) {
  return {
    [modelBrand]: true,
    architecture,
    dir: "/models/fake",
    contextLength: 32,
    tokenizer: undefined,
    fingerprint: async () => ({ architecture: "a".repeat(64), weights: "b".repeat(64) }),
    device: { kind: "cpu" },
    native: {
      matmuls: () => [],
      trainStep: (request: NativeTrainRequest) => job(() => trainStep(request)),
      evaluate: (batches: NativeMicroBatch[], adapters: FakeAdapter[]) => job(() => evaluate(batches, adapters)),
    },
    ...changes,
  } as never;
}
