import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { RedSite, RedVariant } from "../../lib/adapter/config";
import { RedAdapter } from "../../lib/adapter/red_adapter";
import type { Example } from "../../lib/data/types";
import { float32Values, readSafetensors } from "../../lib/files/safetensors";
import { runJob } from "../../lib/job";
import type { DeviceChoice } from "../../lib/model/device";
import { LanguageModel, type LoadOptions } from "../../lib/model/model";
import { type NativeAdapter, type NativeMicroBatch, type NativeParameters, native } from "../../lib/native";
import type { StepEvent } from "../../lib/train/events";
import type { TrainerOptions } from "../../lib/train/options";
import { Trainer } from "../../lib/train/trainer";

interface StoredBatch {
  readonly tokenIds: number[];
  readonly sequenceStarts: number[];
  readonly targets: number[];
  readonly supervisedTokens: number;
}

export interface RedCase {
  readonly name: string;
  readonly variant: RedVariant;
  readonly sites: RedSite[];
  readonly layers: number[];
  readonly loss: number;
  readonly float64Loss: number;
  readonly bf16Loss?: number;
}

export interface Curve {
  readonly losses: number[];
  readonly gradNorms: number[];
  readonly learningRates: number[];
}

/** expected.json; README.md says what is what. */
export interface Expected {
  readonly batch: StoredBatch;
  readonly full: { readonly loss: number; readonly float64Loss: number; readonly bf16Loss?: number };
  readonly red: RedCase[];
  /** `adapter` is null or a case's name. */
  readonly greedy: { readonly adapter: string | null; readonly prompt: number[]; readonly ids: number[] }[];
  readonly training: Record<"red" | "full" | "float64Red" | "float64Full" | "bf16Red" | "bf16Full", Curve> &
    Record<"initialDecay" | "zeroDecay", Omit<Curve, "learningRates"> & { weightDecay: number }> & {
      readonly settings: { lr: number; warmup: number; steps: number; clip: number };
      readonly batches: StoredBatch[][];
    };
}

/** Where the models compute: what RUBRICATE_TEST_DEVICE says, else the CPU. The same tolerances hold everywhere. */
export const device = (process.env.RUBRICATE_TEST_DEVICE ?? "cpu") as DeviceChoice;

/** A fixture's model. */
export const loadFixture = (fixture: string, options: LoadOptions = {}) =>
  LanguageModel.fromPretrained(folderOf(fixture), { device, ...options });

export const folderOf = (fixture: string) => join(__dirname, "fixtures", fixture);

export function expectedOf(fixture: string): Expected {
  return JSON.parse(readFileSync(join(folderOf(fixture), "expected.json"), "utf8"));
}

/** expected.safetensors as fp32. */
export async function tensorsOf(fixture: string): Promise<Map<string, Float32Array>> {
  const tensors = await readSafetensors(join(folderOf(fixture), "expected.safetensors"));
  return new Map(
    [...tensors].map(([name, tensor]) => {
      if (tensor.dtype === "F32") return [name, float32Values(tensor, name)];
      const halves = new Uint16Array(tensor.data.slice().buffer);
      const words = Uint32Array.from(halves, (half) => half << 16);
      return [name, new Float32Array(words.buffer)];
    }),
  );
}

/** The tensors whose names begin with a prefix, by the rest of the name. */
export function under(tensors: ReadonlyMap<string, Float32Array>, prefix: string): Map<string, Float32Array> {
  return new Map(
    [...tensors].flatMap(([name, values]) => (name.startsWith(prefix) ? [[name.slice(prefix.length), values]] : [])),
  );
}

/** A stored batch for the native core, every sequence in the slot. */
export function microBatch(batch: StoredBatch, slot: 0 | 1): NativeMicroBatch {
  return {
    tokenIds: Int32Array.from(batch.tokenIds),
    sequenceStarts: Int32Array.from(batch.sequenceStarts),
    targets: Int32Array.from(batch.targets),
    slots: new Int32Array(batch.sequenceStarts.length - 1).fill(slot),
  };
}

/** A stored batch's sequences; those of one token, which nothing can be learned from, are left out. */
export function examplesOf({ tokenIds, sequenceStarts, targets }: StoredBatch): Example[] {
  return sequenceStarts.slice(0, -1).flatMap((start, at) => {
    const end = sequenceStarts[at + 1]!;
    if (end - start < 2) return [];
    const supervised = [0, ...targets.slice(start, end - 1).map((target) => (target < 0 ? 0 : 1))];
    return [
      { tokenIds: Int32Array.from(tokenIds.slice(start, end)), supervised: Uint8Array.from(supervised), line: at + 1 },
    ];
  });
}

/** An adapter with a case's random vectors. */
export function adapterOf(model: LanguageModel, tensors: ReadonlyMap<string, Float32Array>, one: RedCase): RedAdapter {
  const adapter = RedAdapter.create(model, { variant: one.variant, sites: one.sites, layers: one.layers });
  const names = [...adapter.vectors().keys()];
  adapter.setVectors(new Map(names.map((name) => [name, tensors.get(`${one.name}.${name}`)!])));
  return adapter;
}

const noUpdate = {
  learningRate: 0,
  beta1: 0.9,
  beta2: 0.999,
  epsilon: 1e-8,
  weightDecay: 0,
  decayToZero: false,
  maxGradNorm: 1,
};

/** Forms gradients of a fixture's batch and changes nothing. @returns the loss */
export async function backward(
  model: LanguageModel,
  parameters: NativeAdapter | NativeParameters,
  batch: StoredBatch,
  recompute = false,
): Promise<number> {
  const slot = "values" in parameters ? 1 : 0;
  const optimizer = new (native().Optimizer)(parameters);
  const tenants = [{ parameters, optimizer, options: noUpdate }];
  const request = { tenants, microBatches: [microBatch(batch, slot)], recompute, update: false };
  const [result] = await runJob(() => model.native.trainStep(request));
  optimizer.dispose();
  expect(result!.supervisedTokens).toBe(batch.supervisedTokens);
  return result!.loss;
}

/** ||a - b|| / ||b||, in double. */
export function relativeError(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) throw new Error(`${a.length} numbers against ${b.length}`);
  let [away, size] = [0, 0];
  for (let at = 0; at < b.length; at++) {
    away += (a[at]! - b[at]!) ** 2;
    size += b[at]! ** 2;
  }
  return Math.sqrt(away / size);
}

/** A Trainer's steps over a fixture's training batches: each has 3 sequences and 1 more that carries loss. */
export async function trainedSteps(
  model: LanguageModel,
  { settings, batches }: Expected["training"],
  options: Partial<TrainerOptions>,
): Promise<StepEvent[]> {
  const trainer = new Trainer({
    model,
    train: batches.flatMap((step) => step.flatMap(examplesOf)),
    shuffle: false,
    epochs: 1,
    batchSize: 4,
    learningRate: settings.lr,
    warmupSteps: settings.warmup,
    maxGradNorm: settings.clip,
    ...options,
  });
  const steps: StepEvent[] = [];
  for await (const event of trainer.run()) if (event.type === "step") steps.push(event);
  return steps;
}
