import type { RedAdapter } from "../adapter/red_adapter";
import { RubricateError } from "../errors";
import { bytesOf, float32Values, type ReadTensor, type StoredTensor } from "../files/safetensors";
import { runJob } from "../job";
import type { BaseFingerprint, LlamaModel } from "../model/model";
import type { NativeAdapter, NativeParameters } from "../native";

/** What a run trains: an adapter's vectors, or a model's weights. */
export interface Trainee {
  readonly parameters: NativeAdapter | NativeParameters;
  /** The slot that its sequences have in a batch. */
  readonly slot: 0 | 1;
  readonly names: readonly string[];
  readonly shapes: readonly (readonly number[])[];
  /** Trainable numbers. */
  readonly count: number;
  /** Its values, to be written as they are when their turn comes. */
  tensors(): StoredTensor[];
  /** Copies of its values, in the order of `names`. */
  snapshot(): Float32Array[];
  /** @throws RubricateError ERR_BUSY while a job uses it */
  restore(values: readonly Float32Array[]): void;
}

const sizeOf = (shape: readonly number[]) => shape.reduce((product, size) => product * size, 1);

class AdapterTrainee implements Trainee {
  readonly slot = 1;
  readonly names: readonly string[];
  readonly shapes: readonly (readonly number[])[];
  readonly count: number;

  constructor(readonly parameters: NativeAdapter) {
    this.names = [...parameters.names];
    this.shapes = [...parameters.widths].map((width) => [width]);
    this.count = parameters.widths.reduce((sum, width) => sum + width, 0);
  }

  tensors(): StoredTensor[] {
    return storedTensors(this, this.snapshot());
  }

  snapshot(): Float32Array[] {
    const flat = this.parameters.values();
    let start = 0;
    return this.shapes.map(([width]) => {
      start += width!;
      return flat.slice(start - width!, start);
    });
  }

  restore(values: readonly Float32Array[]): void {
    const flat = new Float32Array(this.count);
    let start = 0;
    for (const value of values) {
      flat.set(value, start);
      start += value.length;
    }
    this.parameters.setValues(flat);
  }
}

class WeightsTrainee implements Trainee {
  readonly slot = 0;
  readonly names: readonly string[];
  readonly shapes: readonly (readonly number[])[];
  readonly count: number;

  constructor(readonly parameters: NativeParameters) {
    this.names = [...parameters.names];
    this.shapes = parameters.shapes.map((shape) => [...shape]);
    this.count = this.shapes.reduce((sum, shape) => sum + sizeOf(shape), 0);
  }

  tensors(): StoredTensor[] {
    return this.names.map((name, index) => ({
      name,
      dtype: "F32",
      shape: this.shapes[index]!,
      data: () => bytesOf(this.parameters.value(index)),
    }));
  }

  snapshot(): Float32Array[] {
    return this.names.map((_, index) => this.parameters.value(index));
  }

  restore(values: readonly Float32Array[]): void {
    for (const [index, value] of values.entries()) this.parameters.setValue(index, value);
  }
}

interface TrainableModel {
  readonly parameters: NativeParameters;
  /** What the weights were before they could change. */
  readonly base: BaseFingerprint;
}

/** Each model that was made trainable: that happens once. */
const trainable = new WeakMap<object, Promise<TrainableModel>>();

async function makeTrainable(model: LlamaModel): Promise<TrainableModel> {
  const base = await model.fingerprint();
  const parameters = await runJob(() => model.native.makeTrainable());
  return { parameters, base };
}

/** What a run is to train, and the base it begins from; a model's weights are made trainable for it. */
export async function traineeOf(
  model: LlamaModel,
  adapter: RedAdapter | undefined,
): Promise<{ trainee: Trainee; base: BaseFingerprint }> {
  if (adapter) return { trainee: new AdapterTrainee(adapter.native), base: await model.fingerprint() };
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

/** Values in the order of the trainee's names, to be written. */
export function storedTensors(trainee: Trainee, values: readonly Float32Array[]): StoredTensor[] {
  return trainee.names.map((name, index) => ({
    name,
    dtype: "F32",
    shape: trainee.shapes[index]!,
    data: () => bytesOf(values[index]!),
  }));
}

/**
 * Values in the order of the trainee's names, as they were written.
 * @throws RubricateError ERR_CHECKPOINT naming the tensor that is missing, extra or of another shape
 */
export function valuesOf(trainee: Trainee, tensors: ReadonlyMap<string, ReadTensor>, where: string): Float32Array[] {
  const values = trainee.names.map((name, index) => {
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
