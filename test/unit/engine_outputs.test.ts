/** What a model's engine asks of the core, and does with its outputs, with a fake core. */
import { outputKinds } from "../../lib/binding/engine";
import { ModelEngine } from "../../lib/generate/model_engine";
import type { NativeEngine, NativeEngineRequest, NativeModel, NativeOutputs } from "../../lib/native";

const options = {
  cacheBytes: 1,
  maxSequences: 2,
  maxQueue: 1,
  stepMs: 1,
  trainingShare: 0.5,
  sharePrefixes: true,
  maxDeviceVersionBytes: 0,
};
const request = { tokenIds: Int32Array.of(1), tenant: 0 } as NativeEngineRequest;

/** A model whose engines do nothing but note their calls; `tell` is the core's call into JavaScript. */
function fakeModel() {
  const calls: unknown[][] = [];
  let hand: NativeOutputs = () => {};
  let next = 0;
  const engine = {
    submit(given: NativeEngineRequest) {
      calls.push(["submit", given.domain]);
      return next++;
    },
    abort: (id: number) => calls.push(["abort", id]),
    taken: (id: number, tokens: number) => calls.push(["taken", id, tokens]),
    close: () => {
      calls.push(["close"]);
      return { promise: Promise.resolve(undefined), cancel: () => {} };
    },
  } as unknown as NativeEngine;
  const createEngine: NativeModel["createEngine"] = ({ maxQueue }, onOutputs) => {
    calls.push(["create", maxQueue]);
    hand = onOutputs;
    return engine;
  };
  const tell = (rows: number[][], failures: { code: string; message: string }[] = [], numbers: number[] = []) =>
    hand(Int32Array.from(rows.flat()), Float32Array.from(numbers), failures);
  const native = { createEngine } as NativeModel;
  return {
    calls,
    tell,
    engine: new ModelEngine(
      () => native,
      () => options,
    ),
  };
}

const { started, token, logProbs, scores, scoreTops, stopped, length, failed } = outputKinds;

test("tokens come in order, whether they are awaited or had run ahead, and then the end", async () => {
  const { tell, engine } = fakeModel();
  const [one, two] = [await engine.submit(request), await engine.submit(request)];
  const first = one.next();
  tell([
    [0, started, 64, 7],
    [1, token, 20, 0],
    [0, token, 10, 0],
    [0, token, 11, 1],
    [9, token, 99, 0],
  ]);
  expect(await first).toEqual({ tokenId: 10 });
  expect(await one.next()).toEqual({ tokenId: 11 });
  expect(one).toMatchObject({ cachedTokens: 64, queuedMs: 7, end: undefined });
  const last = one.next();
  tell(
    [
      [0, stopped, 2, 2],
      [1, failed, 0, 1],
    ],
    [{ code: "ERR_NOT_FINITE", message: "NaN" }],
  );
  expect(await last).toBeUndefined();
  expect(one.end).toEqual({ reason: "stop" });
  expect(await two.next()).toEqual({ tokenId: 20 });
  await expect(two.next()).rejects.toMatchObject({ code: "ERR_NOT_FINITE", message: "NaN" });
});

test("log-probabilities go to their own tokens, and those of an aborted request nowhere", async () => {
  const { tell, engine } = fakeModel();
  const [one, two] = [await engine.submit(request), await engine.submit(request)];
  const first = one.next();
  two.abort();
  const rows = [
    [0, token, 10, 0],
    [0, logProbs, 2, 0],
    [1, token, 20, 0],
    [1, logProbs, 0, 5],
    [0, token, 11, 1],
    [0, logProbs, 0, 6],
  ];
  tell(rows, [], [-0.5, 8, -0.25, 10, -0.5, -9, -1.5]);
  const topLogProbabilities = [
    { tokenId: 8, logProbability: -0.25 },
    { tokenId: 10, logProbability: -0.5 },
  ];
  expect(await first).toEqual({ tokenId: 10, logProbability: -0.5, topLogProbabilities });
  expect(await one.next()).toEqual({ tokenId: 11, logProbability: -1.5, topLogProbabilities: [] });
  const none = two.next();
  tell([[1, failed, 0, 1]], [{ code: "ERR_ABORTED", message: "stopped" }]);
  await expect(none).rejects.toMatchObject({ code: "ERR_ABORTED" });
});

test("scores and the likeliest tokens in their places come in parts, each to its own request", async () => {
  const { tell, engine } = fakeModel();
  const [one, two] = [await engine.submit(request), await engine.submit(request)];
  const top = (tokenId: number, logProbability: number) => ({ tokenId, logProbability });
  tell(
    [
      [0, scores, 2, 0],
      [0, scoreTops, 2, 2],
      [1, scores, 1, 10],
    ],
    [],
    [-0.5, -1.5, 7, -0.25, 8, -0.5, 9, -1, 7, -1.5, -3],
  );
  expect(one).toMatchObject({ scores: [-0.5, -1.5], end: undefined });
  tell(
    [
      [0, scores, 1, 0],
      [0, scoreTops, 2, 1],
      [0, length, -1, 0],
    ],
    [],
    [-2, 4, -2, 5, -2.5],
  );
  expect(one.scores).toEqual([-0.5, -1.5, -2]);
  expect(one.scoreTops).toEqual([
    [top(7, -0.25), top(8, -0.5)],
    [top(9, -1), top(7, -1.5)],
    [top(4, -2), top(5, -2.5)],
  ]);
  expect(two).toMatchObject({ scores: [-3], scoreTops: [] });
});

test("the core is told of all tokens that a reader took, and of none that it did not take", async () => {
  const { calls, tell, engine } = fakeModel();
  const stream = await engine.submit(request);
  tell(Array.from({ length: 200 }, (_, at) => [0, token, at, at]));
  for (let at = 0; at < 100; at++) {
    expect(await stream.next()).toEqual({ tokenId: at });
    stream.taken();
  }
  const told = calls.filter(([name]) => name === "taken").map(([, , tokens]) => tokens as number);
  const sum = told.reduce((total, one) => total + one, 0);
  expect(sum).toBeLessThanOrEqual(100);
  expect(sum).toBeGreaterThan(100 - 64);
});

test("a request that is aborted gives no more tokens, only its end", async () => {
  const { calls, tell, engine } = fakeModel();
  const stream = await engine.submit(request);
  tell([[0, token, 5, 0]]);
  stream.abort();
  stream.abort();
  expect(calls.filter(([name]) => name === "abort")).toEqual([["abort", 0]]);
  const next = stream.next();
  tell([[0, token, 6, 1]]);
  tell([[0, failed, 0, 2]], [{ code: "ERR_ABORTED", message: "stopped" }]);
  await expect(next).rejects.toMatchObject({ code: "ERR_ABORTED" });
});

test("an owner's options replace those of the model's engine, which is closed first; release closes the owner's", async () => {
  const { calls, tell, engine } = fakeModel();
  await engine.submit(request);
  expect(() => engine.own({ ...options, maxQueue: 5 })).toThrow(expect.objectContaining({ code: "ERR_BUSY" }));
  tell([[0, stopped, 2, 0]]);
  engine.own({ ...options, maxQueue: 5 });
  expect(() => engine.own(options)).toThrow(expect.objectContaining({ code: "ERR_STATE" }));
  await engine.submit(request);
  await engine.release(); // while a request is under way
  expect(calls.map(([name, value]) => [name, value])).toEqual([
    ["create", 1],
    ["submit", 0],
    ["close", undefined],
    ["create", 5],
    ["submit", 0],
  ]);
  tell([[1, stopped, 2, 0]]);
  engine.own(options);
  expect(calls.at(-1)).toEqual(["close"]);
  await engine.release();
});

test("after the weights changed, keys and values of before are not found", async () => {
  const { calls, engine } = fakeModel();
  await engine.submit({ ...request, tenant: 3 });
  engine.forgetKeys();
  await engine.submit({ ...request, tenant: 3 });
  const [first, second] = calls.filter(([name]) => name === "submit").map(([, domain]) => domain as number);
  expect(first).toBe(3);
  expect(second).not.toBe(first);
  expect(Number.isSafeInteger(second)).toBe(true);
});
