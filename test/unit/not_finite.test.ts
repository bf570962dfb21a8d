/** Training whose numbers leave float32's range is refused at its start, or ends before anything is lost. */

import { createHash } from "node:crypto";
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { RedAdapter } from "../../lib/adapter/red_adapter";
import { areFinite, firstNotFinite, firstNotFiniteSteps } from "../../lib/finite";
import { limits } from "../../lib/limits";
import type { NativeTrainRequest } from "../../lib/native";
import { atOnce } from "../../lib/steps";
import { Trainer } from "../../lib/train/trainer";
import { temporaryFolder } from "./failing_files";
import { type FakeAdapter, fakeModel, hooks } from "./fake_native";
import { newTrainer, outcomeOf, someExamples } from "./training_support";

jest.mock("../../lib/native", () => require("./fake_native"));

let root: string;
beforeEach(() => {
  root = temporaryFolder();
  hooks.onJob = undefined;
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const { largestFloat32: most, smallestFloat32: least, largestBeta } = limits;
/** The next double after a positive one, or before. */
function next(value: number, by: 1n | -1n): number {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, value);
  view.setBigUint64(0, view.getBigUint64(0) + by);
  return view.getFloat64(0);
}

describe("options", () => {
  const model = fakeModel();
  const [adapter, train] = [RedAdapter.create(model), someExamples(4)];
  const make = (options: object) => new Trainer({ model, adapter, train, ...options });

  test("the bounds are those of float32", () => {
    expect(Math.fround(most)).toBe(most);
    expect(Math.fround(next(most, 1n) * 1.0000001)).toBe(Number.POSITIVE_INFINITY);
    expect(Math.fround(largestBeta)).toBe(largestBeta);
    expect(Math.fround(1 - 2 ** -25)).toBe(1);
  });

  test.each<[object, object]>([
    ...(["learningRate", "weightDecay", "maxGradNorm", "epsilon"] as const).flatMap((name): [object, object][] => [
      [
        { learningRate: 1, [name]: most },
        { learningRate: 1, [name]: next(most, 1n) },
      ],
      [{ [name]: least }, { [name]: next(least, -1n) }],
    ]),
    ...(["beta1", "beta2"] as const).map((name): [object, object] => [
      { [name]: largestBeta },
      { [name]: next(largestBeta, 1n) },
    ]),
    [
      { learningRate: most, weightDecay: 1 },
      { learningRate: most, weightDecay: 1.001 },
    ],
    [{ learningRate: 0, weightDecay: 0, maxGradNorm: 0 }, { epsilon: 0 }],
  ])("%j is accepted, %j refused", (accepted, refused) => {
    make(accepted);
    expect(() => make(refused)).toThrow(expect.objectContaining({ code: "ERR_ARGUMENT" }));
  });
});

/** A model whose k-th step (from 1) produces a number that is not finite. */
function overflowing(at: number, value = Number.POSITIVE_INFINITY, changes = {}) {
  const model = fakeModel(changes) as { native: { trainStep: (request: NativeTrainRequest) => object } };
  const { trainStep } = model.native;
  let steps = 0;
  model.native.trainStep = (request) => {
    const job = trainStep(request) as { promise: Promise<unknown>; cancel: () => void };
    const broken = job.promise.then((result) => {
      if (++steps === at) (request.tenants[0]!.parameters as never as FakeAdapter).current[6] = value;
      return result;
    });
    return { ...job, promise: broken };
  };
  return model as never;
}

test("weights that are not finite at the end of a run are an error, and no checkpoint", async () => {
  const { FakeAdapter } = jest.requireActual("./fake_native");
  const weights = new FakeAdapter();
  const job = <T>(value: T) => ({ promise: Promise.resolve(value), cancel: () => {} });
  weights.readValue = (at: number, start: number, count: number) =>
    job(weights.current.slice(at * 4 + start, at * 4 + start + count));
  const model = overflowing(3, Number.NaN, { forgetFingerprint: () => {} }) as never as { native: object };
  Object.assign(model.native, { makeTrainable: () => job(weights) });
  const options = { method: "full" as const, adapter: undefined, maxSteps: 3 };
  const { error } = await outcomeOf(newTrainer(model as never, options).trainer);
  expect(error).toMatchObject({ code: "ERR_NOT_FINITE", message: expect.stringContaining("down_proj.bias") });
  weights.current[6] = Number.NaN;
  const kept = { ...options, maxSteps: 1, outputDir: root, checkpointEverySteps: 1 };
  const second = await outcomeOf(newTrainer(model as never, kept).trainer);
  expect(second.error).toMatchObject({ code: "ERR_NOT_FINITE" });
  expect(readdirSync(root)).toEqual(["log.jsonl", "run.json"]);
});

test("an adapter with such a number is not written, and the earlier files stay", async () => {
  const adapter = RedAdapter.create(fakeModel());
  await adapter.savePretrained(root);
  const before = readFileSync(join(root, "adapter_model.safetensors"));
  (adapter.native as never as FakeAdapter).current[5] = Number.NaN;
  await expect(adapter.savePretrained(root)).rejects.toMatchObject({
    code: "ERR_NOT_FINITE",
    message: expect.stringContaining("layers.0.mlp.down_proj.bias"),
  });
  expect(readFileSync(join(root, "adapter_model.safetensors"))).toEqual(before);
  expect(readdirSync(root).sort()).toEqual(["adapter_config.json", "adapter_model.safetensors"]);
});

test.each(["adapter_model.safetensors", "optimizer.safetensors", "best.safetensors"])(
  "a checkpoint whose %s contains one cannot be used",
  async (name) => {
    const options = { outputDir: root, checkpointEverySteps: 5, eval: 0.3 };
    await outcomeOf(newTrainer(fakeModel(), options).trainer);
    const dir = join(root, "checkpoint-6");
    const bytes = readFileSync(join(dir, name));
    bytes.writeFloatLE(Number.NaN, bytes.length - 4);
    writeFileSync(join(dir, name), bytes);
    const state = JSON.parse(readFileSync(join(dir, "trainer_state.json"), "utf8"));
    state.files[name] = { bytes: bytes.length, sha256: createHash("sha256").update(bytes).digest("hex") };
    writeFileSync(join(dir, "trainer_state.json"), JSON.stringify(state));
    const { trainer, adapter } = newTrainer(fakeModel(), options);
    const before = adapter.vectors();
    expect((await outcomeOf(trainer, { resume: dir })).error).toMatchObject({
      code: "ERR_CHECKPOINT",
      message: expect.stringContaining("not finite"),
    });
    expect(adapter.vectors()).toEqual(before);
  },
);

test("infinities and NaN are found in every dtype, and nothing else", () => {
  const { POSITIVE_INFINITY, NEGATIVE_INFINITY, NaN: nan } = Number;
  for (const value of [POSITIVE_INFINITY, NEGATIVE_INFINITY, nan]) {
    const values = Float32Array.of(0, -0, most, 1e-45, value);
    expect(firstNotFinite(values)).toBe(4);
    expect(areFinite(new Uint8Array(values.buffer), "F32")).toBe(false);
    expect(areFinite(new Uint8Array(values.buffer, 0, 16), "F32")).toBe(true);
    const long = new Float32Array(200_000);
    long[150_000] = value;
    expect(atOnce(firstNotFiniteSteps(long))).toBe(150_000);
    expect(atOnce(firstNotFiniteSteps(long.subarray(0, 150_000)))).toBe(-1);
  }
  const halves = (...bits: number[]) => new Uint8Array(Uint16Array.from(bits).buffer);
  expect(areFinite(halves(0x7f7f, 0xff7f, 0x0001, 0x7c00), "BF16")).toBe(true);
  for (const bits of [0x7f80, 0xff80, 0x7fc0]) expect(areFinite(halves(0, bits), "BF16")).toBe(false);
  expect(areFinite(halves(0x7bff, 0xfbff, 0x0001), "F16")).toBe(true);
  for (const bits of [0x7c00, 0xfc00, 0x7e00]) expect(areFinite(halves(0, bits), "F16")).toBe(false);
  const odd = new Uint8Array(9).subarray(1);
  expect(areFinite(odd, "F32")).toBe(true);
});
