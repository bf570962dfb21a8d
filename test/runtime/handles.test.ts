/** Handles of the addon: wrong arguments, disposed, foreign and busy objects, jobs that reject. */
import { cpSync, mkdtempSync, rmSync, utimesSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { invalid, RubricateError } from "../../lib/errors";
import { LanguageModel } from "../../lib/model/model";
import { type NativeModel, type NativeTensor, native } from "../../lib/native";
import { expectedOf } from "../parity/fixtures";
import { planOf, redAdapter } from "./red_adapters";

const { Adapter, Optimizer, Tensor, Tape, ops } = native();
const folder = join(__dirname, "../parity/fixtures/gqa");
const { batch } = expectedOf("gqa");

const extents = { tokenIds: Int32Array.from(batch.tokenIds), sequenceStarts: Int32Array.from(batch.sequenceStarts) };
const microBatch = {
  ...extents,
  targets: Int32Array.from(batch.targets),
  slots: new Int32Array(batch.sequenceStarts.length - 1).fill(1),
};
const options = {
  learningRate: 0.01,
  beta1: 0.9,
  beta2: 0.999,
  epsilon: 1e-8,
  weightDecay: 0,
  decayToZero: false,
  maxGradNorm: 1,
};
const engineOptions = {
  cacheBytes: 1 << 20,
  maxSequences: 4,
  maxQueue: 4,
  stepMs: 50,
  trainingShare: 0.2,
  sharePrefixes: true,
  maxDeviceVersionBytes: 0,
};

let architecture: string;
const load = async (): Promise<NativeModel> => {
  const model = await LanguageModel.fromPretrained(folder);
  architecture = JSON.stringify(model.architecture);
  return (model as unknown as { native: NativeModel }).native;
};
const newAdapter = (layers?: readonly number[]) => redAdapter(architecture, layers);
const request = (adapter = newAdapter(), optimizer = new Optimizer(adapter), times = 1) => ({
  tenants: [{ parameters: adapter, optimizer, options }],
  microBatches: Array(times).fill(microBatch),
  recompute: false,
  update: true,
});
const vector = (...values: number[]) => Tensor.from(Float32Array.from(values), [values.length], "float32", false);
const matrix = (rows: number, columns: number, requiresGrad = false) =>
  Tensor.from(new Float32Array(rows * columns).fill(0.5), [rows, columns], "float32", requiresGrad);

const attentionOf = (heads: number, starts: Int32Array) => {
  const x = matrix(2, 4);
  return { q: x, k: x, v: x, heads, kvHeads: 1, scale: 1, starts };
};
const editOf = (starts: Int32Array, slots: Int32Array) => ({
  h: matrix(1, 2),
  scales: [vector(1, 1)],
  biases: [null],
  starts,
  slots,
});

let model: NativeModel;
beforeAll(async () => {
  model = await load();
});
afterAll(() => model.dispose());

// biome-ignore lint/suspicious/noExplicitAny: what JavaScript may pass
const wrong = (value: unknown) => value as any;

describe("synchronous calls throw", () => {
  test.each<[string, string, () => unknown]>([
    ["no tape", "ERR_ARGUMENT", () => ops.silu(wrong({}), vector(1))],
    ["a tensor for a tape", "ERR_ARGUMENT", () => ops.silu(wrong(vector(1)), vector(1))],
    ["a tape for a tensor", "ERR_ARGUMENT", () => ops.silu(new Tape(), wrong(new Tape()))],
    ["an object with a tensor's prototype", "ERR_ARGUMENT", () => ops.silu(new Tape(), Object.create(vector(1)))],
    ["no array", "ERR_ARGUMENT", () => Tensor.from(wrong([1, 2]), [2], "float32", false)],
    ["an Int32Array for floats", "ERR_ARGUMENT", () => Tensor.from(Int32Array.of(1), [1], "float32", false)],
    ["an unknown dtype", "ERR_ARGUMENT", () => Tensor.from(Float32Array.of(1), [1], wrong("float64"), false)],
    ["a shape of other size", "ERR_SHAPE", () => Tensor.from(Float32Array.of(1), [2], "float32", false)],
    [
      "a shape beyond all memory",
      "ERR_SHAPE",
      () => Tensor.from(Float32Array.of(1), [2 ** 40, 2 ** 40], "float32", false),
    ],
    ["a fractional size", "ERR_ARGUMENT", () => Tensor.from(Float32Array.of(1), [0.5], "float32", false)],
    ["a gradient for bfloat16", "ERR_DTYPE", () => Tensor.from(Float32Array.of(1), [1], "bfloat16", true)],
    ["shapes that differ", "ERR_SHAPE", () => ops.add(new Tape(), vector(1), vector(1, 2))],
    [
      "dtypes that differ",
      "ERR_DTYPE",
      () => ops.add(new Tape(), vector(1), ops.cast(new Tape(), vector(1), "bfloat16")),
    ],
    ["a weight that does not fit", "ERR_SHAPE", () => ops.linear(new Tape(), matrix(2, 3), matrix(4, 5))],
    ["starts that do not end", "ERR_ARGUMENT", () => ops.attention(new Tape(), attentionOf(1, Int32Array.of(0, 3)))],
    ["heads that do not divide", "ERR_SHAPE", () => ops.attention(new Tape(), attentionOf(3, Int32Array.of(0, 2)))],
    [
      "a slot beyond the edits",
      "ERR_ARGUMENT",
      () => ops.redEdit(new Tape(), editOf(Int32Array.of(0, 1), Int32Array.of(2))),
    ],
    ["a negative token id", "ERR_ARGUMENT", () => ops.embedding(new Tape(), Int32Array.of(-1), matrix(4, 2))],
    ["a target beyond the logits", "ERR_ARGUMENT", () => ops.crossEntropy(new Tape(), matrix(1, 4), Int32Array.of(4))],
    ["a plan that is not JSON", "ERR_JSON", () => new Adapter(architecture, "{")],
    ["a plan that lacks all", "ERR_ARGUMENT", () => new Adapter(architecture, "{}")],
    ["no plan", "ERR_ARGUMENT", () => new Adapter(architecture, wrong(undefined))],
    ["a layer beyond the last", "ERR_ARGUMENT", () => newAdapter([0, 7])],
    ["an architecture that is not JSON", "ERR_JSON", () => new Adapter("{", planOf(architecture))],
    ["an architecture that lacks all", "ERR_CONFIG", () => new Adapter("{}", planOf(architecture))],
    ["too few values", "ERR_SHAPE", () => newAdapter().setValues(new Float32Array(3))],
    ["an optimizer for nothing", "ERR_ARGUMENT", () => new Optimizer(wrong(undefined))],
    [
      "moments of another length",
      "ERR_SHAPE",
      () => new Optimizer(newAdapter()).setMoments(1, new Float32Array(1), new Float32Array(1)),
    ],
    ["moments of a range beyond the last", "ERR_ARGUMENT", () => new Optimizer(newAdapter()).moments(0, 1 << 20)],
    [
      "moments that reach beyond the last",
      "ERR_SHAPE",
      () =>
        new Optimizer(newAdapter()).setMoments(
          1,
          new Float32Array(2),
          new Float32Array(2),
          newAdapter().values().length - 1,
        ),
    ],
    ["no thread at all", "ERR_ARGUMENT", () => native().setThreads(0)],
    ["a constructor that is not public", "ERR_ARGUMENT", () => new (model.constructor as new () => unknown)()],
    ["no function for bad arguments", "ERR_ARGUMENT", () => native().setErrors(RubricateError, wrong(null))],
    ["no error class", "ERR_ARGUMENT", () => native().setErrors(wrong(null), invalid)],
  ])("%s: %s", (_, code, call) => {
    expect(call).toThrow(expect.objectContaining({ name: "RubricateError", code }));
  });

  test("the message says what was expected, for what, and what was received", () => {
    expect(() => ops.silu(wrong({}), vector(1))).toThrow("Expected a tape for tape but received an instance of Object");
    expect(() => native().setThreads(wrong("two"))).toThrow(
      'Expected an integer from 1 to 256 for threads but received "two" of type string',
    );
  });

  test("a method on an object of another class", () => {
    const { data } = Object.getPrototypeOf(vector(1)) as NativeTensor;
    expect(() => data.call(wrong(new Tape()))).toThrow("Illegal invocation");
    expect(() => data.call(wrong({}))).toThrow("Illegal invocation");
  });
});

describe("jobs reject, and never throw", () => {
  test.each<[string, string, () => { promise: Promise<unknown> }]>([
    ["no batch", "ERR_ARGUMENT", () => model.logits(wrong(null), [])],
    [
      "starts that do not end with the tokens",
      "ERR_ARGUMENT",
      () => model.logits({ ...extents, sequenceStarts: Int32Array.of(0, 5) }, []),
    ],
    [
      "a token beyond the vocabulary",
      "ERR_ARGUMENT",
      () => model.logits({ tokenIds: Int32Array.of(128), sequenceStarts: Int32Array.of(0, 1) }, []),
    ],
    [
      "a sequence beyond the context",
      "ERR_CONTEXT_LENGTH",
      () => model.logits({ tokenIds: new Int32Array(129), sequenceStarts: Int32Array.of(0, 129) }, []),
    ],
    ["a row beyond the last", "ERR_ARGUMENT", () => model.logits(extents, [], Int32Array.of(73))],
    ["a slot without an adapter", "ERR_ARGUMENT", () => model.logits(microBatch, [])],
    ["nobody to train", "ERR_ARGUMENT", () => model.trainStep({ ...request(), tenants: [] })],
    [
      "no supervised token",
      "ERR_DATA",
      () => model.trainStep({ ...request(), microBatches: [{ ...microBatch, targets: new Int32Array(73).fill(-1) }] }),
    ],
    [
      "an adapter twice",
      "ERR_ARGUMENT",
      () => {
        const { tenants, ...rest } = request();
        return model.trainStep({ ...rest, tenants: [...tenants, ...tenants] });
      },
    ],
    [
      "another adapter's optimizer",
      "ERR_FOREIGN",
      () => model.trainStep(request(newAdapter(), new Optimizer(newAdapter()))),
    ],
    ["a tensor that is not there", "ERR_TENSOR_MISSING", () => model.readTensor(["layers.9.norm"])],
    ["no file", "ERR_FILE", () => native().readSafetensors("/no/such/file")],
    ["a folder for a file", "ERR_FILE", () => native().readSafetensors(folder)],
    ["a file of another kind", "ERR_SAFETENSORS", () => native().readSafetensors(join(folder, "config.json"))],
    ["no specification", "ERR_ARGUMENT", () => native().loadModel(wrong(undefined))],
  ])("%s: %s", async (_, code, call) => {
    const { promise } = call();
    await expect(promise).rejects.toMatchObject({ name: "RubricateError", code });
  });

  test("a checkpoint's missing and unexpected tensors are named", async () => {
    const files = [join(folder, "model.safetensors")];
    const spec = { architecture, files, stored: { "norm.weight": { name: "model.nrm" } }, ignored: [] };
    await expect(native().loadModel(spec).promise).rejects.toMatchObject({
      code: "ERR_TENSOR_MISSING",
      message: expect.stringMatching(/lacks 20 tensors.*"embed_tokens.weight", "model.nrm".* and 15 more/),
    });
    const doubled = { ...spec, files: [...files, ...files] };
    await expect(native().loadModel(doubled).promise).rejects.toMatchObject({
      code: "ERR_SAFETENSORS",
      message: expect.stringMatching(/20 are in more than one/),
    });
  });
});

test("disposed objects report it", async () => {
  const tensor = vector(1);
  const tape = new Tape();
  const adapter = newAdapter();
  const optimizer = new Optimizer(adapter);
  const own = await load();
  const engine = own.createEngine(engineOptions, () => {});
  for (const each of [tensor, tape, optimizer, adapter, own]) {
    each.dispose();
    each.dispose();
  }
  const disposed = expect.objectContaining({ code: "ERR_DISPOSED" });
  expect(() => tensor.data()).toThrow(disposed);
  expect(() => ops.silu(new Tape(), tensor)).toThrow(disposed);
  expect(() => ops.silu(tape, vector(1))).toThrow(disposed);
  expect(() => adapter.values()).toThrow(disposed);
  expect(() => new Optimizer(adapter)).toThrow(disposed);
  expect(() => optimizer.step).toThrow(disposed);
  expect(() => own.memory()).toThrow(disposed);
  expect(() => own.createEngine(engineOptions, () => {})).toThrow(disposed);
  expect(() => engine.stats()).toThrow(disposed);
  await expect(own.logits(extents, []).promise).rejects.toMatchObject({ code: "ERR_DISPOSED" });
  await expect(model.logits(extents, [adapter]).promise).rejects.toMatchObject({ code: "ERR_DISPOSED" });
});

test("values of one tape are foreign to another", () => {
  const parameter = Tensor.from(Float32Array.of(1, 2), [2], "float32", true);
  const value = ops.silu(new Tape(), parameter);
  expect(() => ops.silu(new Tape(), value)).toThrow(expect.objectContaining({ code: "ERR_FOREIGN" }));
  expect(() => new Tape().backward(value, vector(1, 1))).toThrow(expect.objectContaining({ code: "ERR_FOREIGN" }));
  expect(() => value.set(Float32Array.of(3, 4))).toThrow(expect.objectContaining({ code: "ERR_STATE" }));
});

test("setting a parameter changes no value that a tape holds", () => {
  const tape = new Tape();
  const parameter = Tensor.from(Float32Array.of(3), [1], "float32", true);
  const square = ops.multiply(tape, parameter, parameter);
  parameter.set(Float32Array.of(100));
  tape.backward(square, vector(1));
  expect(parameter.grad()?.data()).toEqual(Float32Array.of(6));
  expect(parameter.data()).toEqual(Float32Array.of(100));
});

test("dispose() during a step ends all jobs, also waiting ones", async () => {
  const own = await load();
  const running = own.trainStep(request(newAdapter(), undefined, 100_000));
  const waiting = own.evaluate([microBatch], [newAdapter()]);
  expect(own.pendingJobs).toBe(2);
  own.dispose();
  await expect(running.promise).rejects.toMatchObject({ code: "ERR_DISPOSED" });
  await expect(waiting.promise).rejects.toMatchObject({ code: "ERR_DISPOSED" });
});

test("cancel() stops a step before it changes anything", async () => {
  const adapter = newAdapter();
  const optimizer = new Optimizer(adapter);
  const before = adapter.values();
  const job = model.trainStep(request(adapter, optimizer, 100_000));
  setTimeout(() => job.cancel(), 10);
  await expect(job.promise).rejects.toMatchObject({ code: "ERR_ABORTED" });
  job.cancel();
  expect(adapter.values()).toEqual(before);
  expect(optimizer.step).toBe(0);
  expect(model.pendingJobs).toBe(0);
});

test("objects that a step uses are busy until it settles", async () => {
  const other = await load();
  const adapter = newAdapter();
  const optimizer = new Optimizer(adapter);
  const busy = expect.objectContaining({ code: "ERR_BUSY" });
  const job = model.trainStep(request(adapter, optimizer, 100_000));
  expect(() => adapter.setValues(adapter.values())).toThrow(busy);
  expect(() => optimizer.moments()).toThrow(busy);
  await expect(other.trainStep(request(adapter, optimizer)).promise).rejects.toMatchObject({ code: "ERR_BUSY" });
  await expect(other.logits(microBatch, [adapter]).promise).rejects.toMatchObject({ code: "ERR_BUSY" });
  job.cancel();
  await expect(job.promise).rejects.toMatchObject({ code: "ERR_ABORTED" });
  expect((await other.trainStep(request(adapter, optimizer)).promise)[0]?.supervisedTokens).toBe(
    batch.supervisedTokens,
  );
  other.dispose();
});

test.each([true, false])("moments read and set in portions equal those of one call; prepared: %s", async (prepared) => {
  const count = newAdapter().values().length;
  const optimizer = new Optimizer(newAdapter());
  expect(optimizer.step).toBe(0);
  if (prepared) await optimizer.prepare().promise;
  expect(optimizer.moments()).toEqual({ m: new Float32Array(count), v: new Float32Array(count) });
  const m = Float32Array.from({ length: count }, (_, at) => at);
  const v = m.map((value) => value / 2);
  for (let start = 0; start < count; start += 7)
    optimizer.setMoments(3, m.subarray(start, start + 7), v.subarray(start, start + 7), start);
  expect(optimizer.moments()).toEqual({ m, v });
  expect(optimizer.moments(5, 9)).toEqual({ m: m.slice(5, 14), v: v.slice(5, 14) });
  expect(optimizer.step).toBe(3);
});

test("a weight is staged in pieces, replaced as a whole, and read back", async () => {
  const own = await load();
  const parameters = await own.makeTrainable().promise;
  const before = parameters.value(0);
  const { length } = before;
  expect(await parameters.readValue(0, 0, length).promise).toEqual(before);
  expect(await parameters.readValue(0, 3, 5).promise).toEqual(before.slice(3, 8));
  const after = before.map((value) => value + 1);
  parameters.stageValue(0, after.subarray(0, 5));
  await expect(parameters.commitValue(0).promise).rejects.toMatchObject({ code: "ERR_SHAPE" });
  expect(() => parameters.stageValue(0, after)).toThrow(expect.objectContaining({ code: "ERR_SHAPE" }));
  parameters.stageValue(0, after.subarray(5));
  expect(parameters.value(0)).toEqual(before);
  await parameters.commitValue(0).promise;
  expect(await parameters.readValue(0, 0, length).promise).toEqual(after);
  await expect(parameters.commitValue(0).promise).rejects.toMatchObject({ code: "ERR_SHAPE" });
  await expect(parameters.readValue(0, 1, length).promise).rejects.toMatchObject({ code: "ERR_ARGUMENT" });
  own.dispose();
});

test("a callback that throws ends the loading with its own error", async () => {
  const thrown = new Error("enough");
  const files = [join(folder, "model.safetensors")];
  const spec = { architecture, files, stored: {}, ignored: [] };
  const tensors = [...(await native().readSafetensors(files[0] as string).promise).tensors.keys()];
  const stored = Object.fromEntries(tensors.map((name) => [name.replace("model.", ""), { name }]));
  const onProgress = () => {
    throw thrown;
  };
  await expect(native().loadModel({ ...spec, stored, onProgress }).promise).rejects.toBe(thrown);
});

test("a file that changes while it is in use ends jobs with ERR_FILE", async () => {
  const copy = mkdtempSync(join(tmpdir(), "rubricate-"));
  cpSync(folder, copy, { recursive: true });
  const changing = await LanguageModel.fromPretrained(copy);
  const handle = (changing as unknown as { native: NativeModel }).native;
  await handle.logits(extents, []).promise;
  utimesSync(join(copy, "model.safetensors"), new Date(0), new Date(0));
  await expect(handle.logits(extents, []).promise).rejects.toMatchObject({ code: "ERR_FILE" });
  handle.dispose();
  rmSync(copy, { recursive: true });
});
