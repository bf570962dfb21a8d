import type { Adapter } from "../adapter/adapter";
import { baseEntries, grownEntries } from "../adapter/grown_entries";
import { RubricateError } from "../errors";
import { bytesOf, float32Values, type ReadTensor, type StoredTensor } from "../files/safetensors";
import { areFinite } from "../finite";
import { runJob } from "../job";
import { requireCompanions } from "../model/companions";
import type { BaseFingerprint, LanguageModel } from "../model/model";
import { adapterHandle } from "../model_arguments";
import type { NativeAdapter, NativeOptimizer, NativeParameters } from "../native";
import { inSlices, type Steps } from "../steps";

/** The parameters that a run trains: an adapter's vectors, or a model's weights. */
export interface Trainee {
  readonly parameters: NativeAdapter | NativeParameters;
  /** Slot of its sequences in a batch. */
  readonly slot: 0 | 1;
  readonly names: readonly string[];
  /** The same in files. */
  readonly storedNames: readonly string[];
  readonly shapes: readonly (readonly number[])[];
  /** Entries of an adapter's sparse updates, by the names of files: they are beside its values, and stay. */
  entries(): ReadonlyMap<string, Int32Array>;
  /** If the plan of its adapter freezes what has grown: after which share of the steps, and the places of these numbers now. */
  readonly freezing: { readonly at: number; grown(): Promise<Int32Array> } | undefined;
  /** If the plan of its adapter adds a nuclear norm to the loss: its factor, and what the base has at the place of each number. */
  readonly nuclearNorm: { readonly factor: number; base(): Promise<Float32Array> } | undefined;
  /** Trainable numbers. */
  readonly count: number;
  /** Its values for writing, read when they are written. */
  tensors(): StoredTensor[];
  /** Copies of its values, in the order of `names`. */
  snapshot(): Promise<Float32Array[]>;
  /** @throws RubricateError ERR_BUSY while a job uses an adapter */
  restore(values: readonly Float32Array[]): Promise<void>;
  /** @throws RubricateError ERR_NOT_FINITE naming the tensor */
  requireFinite(): Promise<void>;
}

const elementCount = (shape: readonly number[]) => shape.reduce((product, size) => product * size, 1);

/** Numbers copied at a time, which takes about 50 microseconds. */
const portion = 1 << 16;

/** Start and end of each portion of this many numbers. */
function* portions(count: number): Generator<[number, number], void, void> {
  for (let start = 0; start < count; start += portion) yield [start, Math.min(count, start + portion)];
}

/** The optimizer's moments for writing, copied in portions when they are written. */
export function storedMoments(optimizer: NativeOptimizer, count: number): StoredTensor[] {
  return (["m", "v"] as const).map((name) => ({
    name,
    dtype: "F32",
    shape: [count],
    *data() {
      for (const [start, end] of portions(count)) yield bytesOf(optimizer.moments(start, end - start)[name]);
    },
  }));
}

/** Restores an optimizer's moments. */
export async function restoreMoments(
  optimizer: NativeOptimizer,
  step: number,
  m: Float32Array,
  v: Float32Array,
): Promise<void> {
  function* setting(): Steps<void> {
    for (const [start, end] of portions(m.length)) {
      optimizer.setMoments(step, m.subarray(start, end), v.subarray(start, end), start);
      yield;
    }
  }
  await inSlices(setting());
}

const hint = "lower learningRate or weightDecay";

class AdapterTrainee implements Trainee {
  readonly slot = 1;
  readonly names: readonly string[];
  readonly shapes: readonly (readonly number[])[];
  readonly count: number;

  /** @param storedNames, shapes, entries: those of its folder, which is in a checkpoint */
  constructor(
    readonly parameters: NativeAdapter,
    readonly storedNames: readonly string[],
    shapes: readonly (readonly number[])[],
    readonly entries: () => ReadonlyMap<string, Int32Array>,
    readonly freezing: Trainee["freezing"],
    readonly nuclearNorm: Trainee["nuclearNorm"],
  ) {
    this.names = [...parameters.names];
    this.shapes = shapes.map((shape) => [...shape]);
    this.count = this.shapes.reduce((sum, shape) => sum + elementCount(shape), 0);
  }

  tensors(): StoredTensor[] {
    return storedTensors(this, this.values());
  }

  async snapshot(): Promise<Float32Array[]> {
    return this.values();
  }

  private values(): Float32Array[] {
    const flat = this.parameters.values();
    let start = 0;
    return this.shapes.map((shape) => {
      start += elementCount(shape);
      return flat.slice(start - elementCount(shape), start);
    });
  }

  async restore(values: readonly Float32Array[]): Promise<void> {
    const flat = new Float32Array(this.count);
    let start = 0;
    for (const value of values) {
      flat.set(value, start);
      start += value.length;
    }
    this.parameters.setValues(flat);
  }

  async requireFinite(): Promise<void> {} // checked after each step
}

class WeightsTrainee implements Trainee {
  readonly slot = 0;
  readonly names: readonly string[];
  readonly storedNames: readonly string[];
  readonly shapes: readonly (readonly number[])[];
  readonly entries = () => new Map<string, Int32Array>();
  readonly freezing = undefined;
  readonly nuclearNorm = undefined;
  readonly count: number;

  constructor(readonly parameters: NativeParameters) {
    this.names = [...parameters.names];
    this.storedNames = this.names;
    this.shapes = parameters.shapes.map((shape) => [...shape]);
    this.count = this.shapes.reduce((sum, shape) => sum + elementCount(shape), 0);
  }

  tensors(): StoredTensor[] {
    return this.names.map((name, index) => ({
      name,
      dtype: "F32",
      shape: this.shapes[index]!,
      data: () => this.pieces(index),
    }));
  }

  /** A weight's numbers in pieces: freeing a large buffer takes the system as long as copying it. */
  private async *pieces(index: number): AsyncGenerator<Uint8Array, void, void> {
    const piece = 4 * portion;
    const count = elementCount(this.shapes[index]!);
    for (let start = 0; start < count; start += piece) {
      const read = () => this.parameters.readValue(index, start, Math.min(piece, count - start));
      yield bytesOf(await runJob(read));
    }
  }

  async snapshot(): Promise<Float32Array[]> {
    const values: Float32Array[] = [];
    for (const [index, shape] of this.shapes.entries()) {
      const value = new Float32Array(elementCount(shape));
      let at = 0;
      for await (const piece of this.pieces(index)) {
        bytesOf(value).set(piece, at);
        at += piece.length;
      }
      values.push(value);
    }
    return values;
  }

  async restore(values: readonly Float32Array[]): Promise<void> {
    for (const [index, value] of values.entries()) {
      await inSlices(this.staging(index, value));
      await runJob(() => this.parameters.commitValue(index));
    }
  }

  async requireFinite(): Promise<void> {
    for (const [index, name] of this.names.entries())
      for await (const piece of this.pieces(index))
        if (!areFinite(piece, "F32"))
          throw new RubricateError(
            "ERR_NOT_FINITE",
            `The weights are not finite any more (${name}): load the model again, or resume from a checkpoint, and ${hint}`,
          );
  }

  private *staging(index: number, value: Float32Array): Steps<void> {
    for (const [start, end] of portions(value.length)) {
      this.parameters.stageValue(index, value.subarray(start, end));
      yield;
    }
  }
}

interface TrainableModel {
  readonly parameters: NativeParameters;
  /** Fingerprint of the weights before training. */
  readonly base: BaseFingerprint;
}

/** Models that were made trainable, which happens once. */
const trainable = new WeakMap<object, Promise<TrainableModel>>();

async function makeTrainable(model: LanguageModel): Promise<TrainableModel> {
  const base = await model.fingerprint();
  const parameters = await runJob(() => model.native.makeTrainable());
  return { parameters, base };
}

function freezingOf(model: LanguageModel, adapter: Adapter): Trainee["freezing"] {
  const { freeze } = adapter.plan();
  return freeze && { at: freeze.at, grown: () => grownEntries(model, adapter) };
}

function nuclearNormOf(model: LanguageModel, adapter: Adapter): Trainee["nuclearNorm"] {
  const { nuclear_norm: factor } = adapter.plan();
  return factor === undefined ? undefined : { factor, base: () => baseEntries(model, adapter) };
}

/** The parameters that a run trains, and its base; makes a model's weights trainable. */
export async function traineeOf(
  model: LanguageModel,
  adapter: Adapter | undefined,
): Promise<{ trainee: Trainee; base: BaseFingerprint }> {
  const vectors = adapterHandle(adapter, model);
  if (vectors)
    return {
      trainee: new AdapterTrainee(
        vectors,
        adapter!.storedNames(),
        adapter!.storedShapes(),
        () => adapter!.storedEntries(),
        freezingOf(model, adapter!),
        nuclearNormOf(model, adapter!),
      ),
      base: await model.fingerprint(),
    };
  await requireCompanions(model.dir); // otherwise training could end with a model that cannot be saved
  const handle = model.native;
  let making = trainable.get(handle);
  if (!making) {
    making = makeTrainable(model);
    trainable.set(handle, making);
    making.catch(() => trainable.delete(handle));
  }
  const { parameters, base } = await making;
  return { trainee: new WeightsTrainee(parameters), base };
}

/** Values for writing, in the order of the trainee's names, under those of files. */
export function storedTensors(trainee: Trainee, values: readonly Float32Array[]): StoredTensor[] {
  return trainee.storedNames.map((name, index) => ({
    name,
    dtype: "F32",
    shape: trainee.shapes[index]!,
    data: () => bytesOf(values[index]!),
  }));
}

/**
 * Stored values, in the order of the trainee's names.
 * @throws RubricateError ERR_CHECKPOINT naming the tensor that is missing, extra or of another shape
 */
export function valuesOf(trainee: Trainee, tensors: ReadonlyMap<string, ReadTensor>, where: string): Float32Array[] {
  const values = trainee.storedNames.map((name, index) => {
    const tensor = tensors.get(name);
    const shape = trainee.shapes[index]!;
    if (!tensor) throw new RubricateError("ERR_CHECKPOINT", `Expected a tensor ${name} in ${where} but found none`);
    if (tensor.shape.join() !== shape.join())
      throw new RubricateError(
        "ERR_CHECKPOINT",
        `Expected shape [${shape.join(", ")}] for ${name} in ${where} but found [${tensor.shape.join(", ")}]`,
      );
    return float32Values(tensor, name);
  });
  if (tensors.size !== trainee.names.length)
    throw new RubricateError(
      "ERR_CHECKPOINT",
      `Expected ${trainee.names.length} tensors in ${where} but found ${tensors.size}`,
    );
  return values;
}

/**
 * The tensors of a checkpoint without the entries of sparse updates, which must be the trainee's.
 * @throws RubricateError ERR_CHECKPOINT naming the tensor that is missing or another
 */
export function withoutEntries(
  trainee: Trainee,
  tensors: ReadonlyMap<string, ReadTensor>,
  where: string,
): ReadonlyMap<string, ReadTensor> {
  const rest = new Map(tensors);
  for (const [name, own] of trainee.entries()) {
    const tensor = tensors.get(name);
    if (tensor?.dtype !== "I32" || !Buffer.from(bytesOf(own)).equals(tensor.data))
      throw new RubricateError(
        "ERR_CHECKPOINT",
        `Expected the ${own.length} entries of the adapter for ${name} in ${where} but found ${tensor ? "others" : "none"}`,
      );
    rest.delete(name);
  }
  return rest;
}
