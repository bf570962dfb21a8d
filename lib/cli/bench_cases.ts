/** What `rubricate bench` times. */
import { RedAdapter } from "../adapter/red_adapter";
import { runJob } from "../job";
import type { LlamaModel } from "../model/model";
import { native } from "../native";
import { ops, Tape, Tensor } from "../tensor";

export interface BenchCase {
  readonly name: string;
  run(): unknown;
  /** Work of a run, in 10^9 operations or bytes, or in whatever `unit` counts a second. */
  readonly work?: number;
  readonly unit?: string;
  /** Frees what it holds. */
  end?(): void;
}

/** Numbers between -1 and 1, always the same ones. */
function someNumbers(count: number): Float32Array {
  const numbers = new Float32Array(count);
  let state = 1;
  for (let at = 0; at < count; at++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    numbers[at] = state / 2 ** 31 - 1;
  }
  return numbers;
}

function tensor(shape: readonly number[], requiresGrad = false): Tensor {
  const count = shape.reduce((product, size) => product * size, 1);
  return Tensor.from(someNumbers(count), shape, "float32", { requiresGrad });
}

const rows = 512;
const hidden = 768;
const feedForward = 2048;

/** Kernels by themselves, in fp32, at shapes of a model with 110 million parameters. */
export function opCases(): BenchCase[] {
  return [redEditForward(), redEditBackward(), matmul(), attention(), callOverhead()];
}

/** Runs on a tape of its own, whose values go with it. */
function onTape(work: (tape: Tape, free: (value: Tensor) => Tensor) => void): void {
  const tape = new Tape();
  const values: Tensor[] = [];
  work(tape, (value) => {
    values.push(value);
    return value;
  });
  tape.dispose();
  for (const value of values) value.dispose();
}

const gigabytes = (floats: number) => (floats * 4) / 1e9;
const shape = `[${rows}, ${hidden}]`;

function redEditForward(): BenchCase {
  const [h, scale, bias] = [tensor([rows, hidden]), tensor([hidden]), tensor([hidden])];
  return {
    name: `RED edit forward ${shape}`,
    run: () => onTape((tape, free) => free(ops.redEdit(tape, h, [scale], [bias]))),
    work: gigabytes(2 * rows * hidden),
    unit: "GB/s",
  };
}

function redEditBackward(): BenchCase {
  const h = tensor([rows, hidden], true);
  const [scale, bias] = [tensor([hidden], true), tensor([hidden], true)];
  const seed = tensor([rows, hidden]);
  return {
    name: `RED edit forward and backward ${shape}`,
    run: () => onTape((tape, free) => tape.backward(free(ops.redEdit(tape, h, [scale], [bias])), seed)),
    work: gigabytes(5 * rows * hidden),
    unit: "GB/s",
  };
}

function matmul(): BenchCase {
  const [x, weight] = [tensor([rows, hidden]), tensor([feedForward, hidden])];
  return {
    name: `matmul ${shape} x [${hidden}, ${feedForward}]`,
    run: () => onTape((tape, free) => free(ops.linear(tape, x, weight))),
    work: (2 * rows * hidden * feedForward) / 1e9,
    unit: "GFLOP/s",
  };
}

function attention(): BenchCase {
  const heads = 12;
  const [q, k, v] = [tensor([rows, hidden]), tensor([rows, hidden]), tensor([rows, hidden])];
  return {
    name: `attention of ${rows} tokens, ${heads} heads of ${hidden / heads}`,
    run: () => onTape((tape, free) => free(ops.attention(tape, q, k, v, { heads }))),
    work: (4 * hidden * rows * (rows + 1)) / 2 / 1e9,
    unit: "GFLOP/s",
  };
}

function callOverhead(): BenchCase {
  const calls = 1000;
  const value = tensor([1]);
  return {
    name: `${calls} calls of the core, one number each`,
    run: () => {
      for (let at = 0; at < calls; at++) value.data();
    },
    work: calls,
    unit: "calls/s",
  };
}

/** The model at work. */
export async function modelCases(model: LlamaModel): Promise<BenchCase[]> {
  const tokens = Math.min(256, model.contextLength - 40);
  const tokenIds = Int32Array.from({ length: tokens }, (_, at) => (at * 131 + 7) % model.vocabularySize);
  return [trainStep(model, tokenIds), prefill(model, tokenIds), ...decoding(model, tokenIds)];
}

function trainStep(model: LlamaModel, tokenIds: Int32Array): BenchCase {
  const sequences = 4;
  const { length } = tokenIds;
  const adapter = RedAdapter.create(model);
  const optimizer = new (native().Optimizer)(adapter.native);
  const flat = Int32Array.from({ length: sequences * length }, (_, at) => tokenIds[at % length]!);
  const batch = {
    tokenIds: flat,
    sequenceStarts: Int32Array.from({ length: sequences + 1 }, (_, at) => at * length),
    targets: flat.map((_, at) => (at % length === length - 1 ? -1 : flat[at + 1]!)),
    slots: new Int32Array(sequences).fill(1),
  };
  const options = {
    learningRate: 1e-3,
    beta1: 0.9,
    beta2: 0.999,
    epsilon: 1e-8,
    weightDecay: 0,
    decayToZero: false,
    maxGradNorm: 1,
  };
  const tenants = [{ parameters: adapter.native, optimizer, options }];
  return {
    name: `training step, ${sequences} sequences of ${length} tokens`,
    run: () => runJob(() => model.native.trainStep({ tenants, microBatches: [batch], recompute: false, update: true })),
    work: sequences * length,
    unit: "tokens/s",
    end() {
      optimizer.dispose();
      adapter.dispose();
    },
  };
}

function prefill(model: LlamaModel, tokenIds: Int32Array): BenchCase {
  const rowsOfInterest = Int32Array.of(tokenIds.length - 1);
  const batch = { tokenIds, sequenceStarts: Int32Array.of(0, tokenIds.length), slots: Int32Array.of(0) };
  return {
    name: `prefill of ${tokenIds.length} tokens`,
    run: () => runJob(() => model.native.logits(batch, [], rowsOfInterest)),
    work: tokenIds.length,
    unit: "tokens/s",
  };
}

const greedy = { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 0 };

/** 32 tokens after a short prompt: without an adapter, with one, and with another at every token. */
function decoding(model: LlamaModel, tokenIds: Int32Array): BenchCase[] {
  const tokens = 32;
  const first = RedAdapter.create(model);
  const second = RedAdapter.create(model);
  const decode = async (adapterAt: (token: number) => RedAdapter | null) => {
    const decoder = model.native.createDecoder();
    const sequence = decoder.addSequence();
    let input = tokenIds.slice(0, 8);
    for (let at = 0; at < tokens; at++) {
      const request = { sequence, tokenIds: input, adapter: adapterAt(at)?.native ?? null, sampling: greedy };
      input = Int32Array.from(await runJob(() => decoder.step([request], 256)));
    }
    decoder.dispose();
  };
  const one = (name: string, adapterAt: (token: number) => RedAdapter | null, end?: () => void): BenchCase => ({
    name: `${tokens} tokens decoded${name}`,
    run: () => decode(adapterAt),
    work: tokens,
    unit: "tokens/s",
    end,
  });
  return [
    one("", () => null),
    one(" with an adapter", () => first),
    one(
      ", another adapter at each",
      (at) => (at % 2 === 0 ? first : second),
      () => {
        first.dispose();
        second.dispose();
      },
    ),
  ];
}
