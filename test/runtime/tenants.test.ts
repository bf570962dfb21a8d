/** A training step of many tenants through the binding. The bits are compared by native/train/train_step_test.cc. */
import { join } from "node:path";
import { RubricateError } from "../../lib/errors";
import { LanguageModel } from "../../lib/model/model";
import {
  type NativeAdapter,
  type NativeMicroBatch,
  type NativeModel,
  type NativeTrainRequest,
  native,
} from "../../lib/native";
import { expectedOf } from "../parity/fixtures";
import { redAdapter } from "./red_adapters";

const { Optimizer } = native();
const { batch } = expectedOf("gqa");
const count = batch.sequenceStarts.length - 1;
const options = {
  learningRate: 0.01,
  beta1: 0.9,
  beta2: 0.999,
  epsilon: 1e-8,
  weightDecay: 0,
  decayToZero: false,
  maxGradNorm: 1,
};

let model: NativeModel;
let architecture: string;
let context: number;

beforeAll(async () => {
  const loaded = await LanguageModel.fromPretrained(join(__dirname, "../parity/fixtures/gqa"));
  architecture = JSON.stringify(loaded.architecture);
  context = loaded.contextLength;
  model = (loaded as unknown as { native: NativeModel }).native;
});

const newAdapter = () => redAdapter(architecture);

/** All sequences of the fixture, for each adapter. `silent`: the slot whose sequences have no targets. */
function request(adapters: readonly NativeAdapter[], more: Partial<NativeTrainRequest> = {}, silent = 0) {
  const microBatches = adapters.map((_, at) => ({
    tokenIds: Int32Array.from(batch.tokenIds),
    sequenceStarts: Int32Array.from(batch.sequenceStarts),
    targets: at + 1 === silent ? new Int32Array(batch.targets.length).fill(-1) : Int32Array.from(batch.targets),
    slots: new Int32Array(count).fill(at + 1),
  }));
  const tenants = adapters.map((parameters) => ({ parameters, optimizer: new Optimizer(parameters), options }));
  return { tenants, microBatches, recompute: false, update: true, ...more };
}

async function alone(): Promise<Float32Array> {
  const adapter = newAdapter();
  await model.trainStep(request([adapter])).promise;
  return adapter.values();
}

/** Calls `start` while the model's thread is busy, so that what it starts does not begin before it returns. */
async function queued<T>(start: () => T): Promise<T> {
  const { microBatches, ...rest } = request([newAdapter()]);
  const ahead = model.trainStep({ ...rest, microBatches: Array(100_000).fill(microBatches[0]) });
  const started = start();
  ahead.cancel();
  await expect(ahead.promise).rejects.toMatchObject({ code: "ERR_ABORTED" });
  return started;
}

test.each([undefined, 1, 50, 4096])("each tenant has its own outcome, with maxRows %p", async (maxRows) => {
  const [sound, broken, silent, other] = [newAdapter(), newAdapter(), newAdapter(), newAdapter()];
  broken!.setValues(broken!.values().fill(Number.NaN, 0, 1));
  const all = [sound!, broken!, silent!, other!];
  const before = all.map((adapter) => adapter.values());
  const outcomes = await model.trainStep(request(all, { maxRows }, 3)).promise;
  expect(outcomes.map(({ error }) => error?.code)).toEqual([undefined, "ERR_NOT_FINITE", "ERR_DATA", undefined]);
  expect(outcomes[1]!.error).toBeInstanceOf(RubricateError);
  const expected = await alone();
  expect(sound!.values()).toEqual(expected);
  expect(other!.values()).toEqual(expected);
  expect(broken!.values()).toEqual(before[1]);
  expect(silent!.values()).toEqual(before[2]);
  expect(outcomes[0]).toEqual(outcomes[3]);
});

test.each<[string, string, (microBatch: { tokenIds: Int32Array; targets: Int32Array }) => object]>([
  ["a token outside the vocabulary", "ERR_ARGUMENT", ({ tokenIds }) => ({ tokenIds: tokenIds.with(0, 5000) })],
  ["a negative token", "ERR_ARGUMENT", ({ tokenIds }) => ({ tokenIds: tokenIds.with(3, -1) })],
  ["a target outside the vocabulary", "ERR_ARGUMENT", ({ targets }) => ({ targets: targets.with(1, 5000) })],
  ["targets of other tokens", "ERR_ARGUMENT", ({ targets }) => ({ targets: targets.slice(1) })],
  ["starts that do not fit", "ERR_ARGUMENT", () => ({ sequenceStarts: new Int32Array(count + 1) })],
  ["a sequence longer than the context", "ERR_CONTEXT_LENGTH", () => longOf(context + 1)],
])("a micro-batch that is refused ends its tenant alone: %s", async (_, code, change) => {
  const adapters = [newAdapter(), newAdapter(), newAdapter()];
  const before = adapters[1]!.values();
  const given = request(adapters);
  const [first, second, third] = given.microBatches;
  const broken = { ...second!, ...change(second!) } as Required<NativeMicroBatch>;
  // Its other micro-batches are sound.
  const outcomes = await model.trainStep({ ...given, microBatches: [first!, second!, broken, third!] }).promise;
  expect(outcomes.map(({ error }) => error?.code)).toEqual([undefined, code, undefined]);
  const expected = await alone();
  expect(adapters[0]!.values()).toEqual(expected);
  expect(adapters[2]!.values()).toEqual(expected);
  expect(adapters[1]!.values()).toEqual(before);
  // What several tenants have sequences of rejects, and so does a step in which nothing is left.
  const both = { ...given, microBatches: [{ ...broken, slots: broken.slots.map((__, at) => 1 + (at % 2)) }, third!] };
  if (broken.slots.length > 1) await expect(model.trainStep(both).promise).rejects.toMatchObject({ code });
  const all = [1, 2, 3].map((slot) => ({ ...broken, slots: broken.slots.map(() => slot) }));
  await expect(model.trainStep({ ...given, microBatches: all }).promise).rejects.toMatchObject({ code });
  const only = request([newAdapter()]);
  const wrong = { ...broken, slots: broken.slots.map(() => 1) };
  await expect(model.trainStep({ ...only, microBatches: [wrong] }).promise).rejects.toMatchObject({ code });
});

/** A micro-batch of one sequence of the second tenant. */
function longOf(length: number) {
  const tokenIds = new Int32Array(length).fill(1);
  return { tokenIds, targets: tokenIds, sequenceStarts: Int32Array.of(0, length), slots: Int32Array.of(2) };
}

test("a tenant is cancelled alone, the job cancels all", async () => {
  const [first, second] = [newAdapter(), newAdapter()];
  const before = second.values();
  const job = await queued(() => {
    const started = model.trainStep(request([first, second]));
    started.cancelTenant(1);
    return started;
  });
  const outcomes = await job.promise;
  expect(outcomes.map(({ error }) => error?.code)).toEqual([undefined, "ERR_ABORTED"]);
  expect(first.values()).toEqual(await alone());
  expect(second.values()).toEqual(before);
  job.cancelTenant(0); // the step has ended
  const whole = await queued(() => {
    const started = model.trainStep(request([first, second]));
    started.cancel();
    started.promise.catch(() => {});
    return started;
  });
  await expect(whole.promise).rejects.toMatchObject({ code: "ERR_ABORTED" });
});

test("the error of an only tenant rejects", async () => {
  const only = request([newAdapter()], {}, 1);
  await expect(model.trainStep(only).promise).rejects.toMatchObject({ code: "ERR_DATA" });
  const job = await queued(() => {
    const started = model.trainStep(request([newAdapter()]));
    started.cancelTenant(0);
    started.promise.catch(() => {});
    return started;
  });
  await expect(job.promise).rejects.toMatchObject({ code: "ERR_ABORTED" });
});

test("bad arguments are errors", async () => {
  for (const maxRows of [0, -1, 1.5, 2 ** 31, "8"] as number[]) {
    const job = model.trainStep(request([newAdapter()], { maxRows }));
    await expect(job.promise).rejects.toMatchObject({ code: "ERR_ARGUMENT" });
    await expect(model.evaluate([], [], maxRows).promise).rejects.toMatchObject({ code: "ERR_ARGUMENT" });
  }
  const job = model.trainStep(request([newAdapter()]));
  for (const index of [-1, 1, 0.5]) expect(() => job.cancelTenant(index)).toThrow(/index/);
  await job.promise;
});

test("an evaluation sums by slot, whatever maxRows", async () => {
  const adapters = [newAdapter(), newAdapter()];
  const { microBatches } = request(adapters);
  const [plain, ...others] = await Promise.all(
    [undefined, 1, 50, 4096].map((maxRows) => model.evaluate(microBatches, adapters, maxRows).promise),
  );
  for (const sums of others) expect(sums).toEqual(plain);
  expect(plain!.nats[1]).toBe(plain!.nats[2]);
});
