import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { outputKinds } from "../../lib/binding/engine";
import { embeddedModelDir } from "../../lib/embedded";
import { greedy } from "../../lib/generate/sampling_options";
import { LanguageModel } from "../../lib/model/model";
import {
  type NativeAdapter,
  type NativeEngine,
  type NativeEngineOptions,
  type NativeEngineRequest,
  type NativeModel,
  type NativeOptimizer,
  native,
} from "../../lib/native";
import { redAdapter } from "./red_adapters";

const folder = join(__dirname, "../parity/fixtures/gqa");
const engineOptions: NativeEngineOptions = {
  cacheBytes: 1 << 20,
  maxSequences: 8,
  maxQueue: 8,
  stepMs: 50,
  trainingShare: 0.2,
  sharePrefixes: true,
  maxDeviceVersionBytes: 0,
};
const request = (more: Partial<NativeEngineRequest> = {}): NativeEngineRequest => ({
  tokenIds: Int32Array.of(1, 2, 3),
  version: null,
  sampling: greedy,
  maxNewTokens: 10,
  stopIds: new Int32Array(),
  tenant: 0,
  weight: 1,
  domain: 0,
  topLogProbs: -1,
  scoreFrom: -1,
  deadlineMs: 0,
  ...more,
});

let model: NativeModel;
let architecture: string;
const load = async (source = folder): Promise<NativeModel> => {
  const loaded = await LanguageModel.fromPretrained(source);
  architecture = JSON.stringify(loaded.architecture);
  return (loaded as unknown as { native: NativeModel }).native;
};
const newAdapter = () => redAdapter(architecture);
beforeEach(async () => {
  model = await load();
});

interface Answer {
  ids: number[];
  end: number;
  code?: string;
}

/** A request that cannot end in this turn of the event loop: it stops 256 tokens ahead of its reader. */
const long = { maxNewTokens: 400 };
/** An engine of a model whose context has room for `long`. */
async function serveLong(options: Partial<NativeEngineOptions> = {}) {
  model = await load(embeddedModelDir());
  return serve({ cacheBytes: 1 << 26, ...options });
}

/** An engine whose readers take every token at once, and a function that resolves with a request's answer. */
function serve(options: Partial<NativeEngineOptions> = {}) {
  const answers = new Map<number, Answer & { done(answer: Answer): void }>();
  let calls = 0;
  const engine: NativeEngine = model.createEngine({ ...engineOptions, ...options }, (rows, _numbers, failures) => {
    calls++;
    for (let row = 0; row < rows.length; row += 4) {
      const [id, kind, value] = rows.subarray(row, row + 4) as unknown as [number, number, number];
      const answer = answers.get(id)!;
      if (kind === outputKinds.token) {
        answer.ids.push(value);
        code(() => engine.taken(id, 1)); // refused for tokens that were on their way when the engine was closed
      } else if (kind >= outputKinds.stopped) {
        answer.end = kind;
        if (kind === outputKinds.failed) answer.code = failures[value]!.code;
        answer.done(answer);
      }
    }
  });
  const start = (more: Partial<NativeEngineRequest> = {}) => {
    const id = engine.submit(request(more));
    return { id, answer: new Promise<Answer>((done) => answers.set(id, { ids: [], end: -1, done })) };
  };
  return { engine, start, calls: () => calls };
}

/** The likeliest tokens after a prompt, each by a forward of the whole sequence, which caches nothing. */
async function forwarded(prompt: Int32Array, count: number) {
  const ids = [...prompt];
  while (ids.length < prompt.length + count) {
    const batch = { tokenIds: Int32Array.from(ids), sequenceStarts: Int32Array.of(0, ids.length) };
    const logits = await model.logits(batch, [], Int32Array.of(ids.length - 1)).promise;
    ids.push(logits.indexOf(logits.reduce((most, one) => Math.max(most, one))));
  }
  return ids.slice(prompt.length);
}

/** A training step over that many micro-batches. */
function train(adapter: NativeAdapter, optimizer: NativeOptimizer, microBatches: number) {
  const options = {
    learningRate: 0.1,
    beta1: 0.9,
    beta2: 0.999,
    epsilon: 1e-8,
    weightDecay: 0,
    decayToZero: false,
    maxGradNorm: 1,
  };
  const tokenIds = Int32Array.from({ length: 64 }, (_, i) => i);
  const microBatch = {
    tokenIds,
    sequenceStarts: Int32Array.of(0, 64),
    targets: tokenIds.map((id) => (id + 1) % 64),
    slots: Int32Array.of(1),
  };
  return model.trainStep({
    tenants: [{ parameters: adapter, optimizer, options }],
    microBatches: Array(microBatches).fill(microBatch),
    recompute: false,
    update: true,
  });
}

const code = (call: () => unknown) => {
  try {
    call();
    return "none";
  } catch (error) {
    return (error as { code: string }).code;
  }
};

test("requests that share an engine answer as forwards of the whole do, with few calls into JavaScript", async () => {
  const { engine, start, calls } = serve();
  const prompts = [1, 30, 70, 5].map((length) => Int32Array.from({ length }, (_, i) => (i * 7) % 128));
  const answers = await Promise.all(prompts.map((tokenIds) => start({ tokenIds }).answer));
  for (const [i, answer] of answers.entries()) {
    expect(answer.ids).toEqual(await forwarded(prompts[i]!, 10));
    expect(answer.end).toBe(outputKinds.length);
  }
  expect(calls()).toBeLessThan(44);
  expect(engine.stats()).toMatchObject({ running: 0, waiting: 0, generatedTokens: 40 });
  expect(model.pendingJobs).toBe(0);
});

test("an answer is of one version, also while the adapter is trained", async () => {
  const adapter = newAdapter();
  const optimizer = new (native().Optimizer)(adapter);
  const before = await model.publish(adapter).promise;
  expect((await model.publish(adapter).promise).id).toBe(before.id);
  const { start } = serve();
  const { ids } = await start({ version: before }).answer;
  const step = train(adapter, optimizer, 200);
  const during = model.publish(adapter).promise;
  const answers = [start({ version: before }), start({ version: before, tokenIds: Int32Array.of(9) })];
  expect((await answers[0]!.answer).ids).toEqual(ids);
  await answers[1]!.answer;
  await during;
  await step.promise;
  expect((await start({ version: before }).answer).ids).toEqual(ids);
  const after = await model.publish(adapter).promise;
  expect(after.id).not.toBe(before.id);
  expect((await start({ version: after }).answer).ids).not.toEqual(ids);
});

test("requests are answered between the blocks of a training step on the same model", async () => {
  const adapter = newAdapter();
  const step = train(adapter, new (native().Optimizer)(adapter), 100_000);
  const { start } = serve();
  for (let i = 0; i < 5; i++) expect((await start().answer).end).toBe(outputKinds.length);
  expect(model.pendingJobs).toBe(1);
  step.cancel();
  await expect(step.promise).rejects.toMatchObject({ code: "ERR_ABORTED" });
});

test.each([true, false])(
  "requests whose pages others had before read none of their keys, sharePrefixes %s",
  async (sharePrefixes) => {
    const { start } = serve({ cacheBytes: 1, sharePrefixes }); // of one page
    for (const first of [7, 9, 7, 8]) {
      const tokenIds = Int32Array.of(first, 8, 9);
      expect((await start({ tokenIds }).answer).ids).toEqual(await forwarded(tokenIds, 10));
    }
  },
);

test("a getter that disposes of the model while a request is read does no harm", () => {
  const { engine } = serve();
  const evil = {
    ...request(),
    get tokenIds() {
      model.dispose();
      return Int32Array.of(1);
    },
  };
  expect(code(() => engine.submit(evil))).toBe("ERR_DISPOSED");
});

test("an aborted request ends with ERR_ABORTED, once, and others go on", async () => {
  const { engine, start } = await serveLong();
  const aborted = start(long);
  engine.abort(aborted.id);
  expect((await aborted.answer).code).toBe("ERR_ABORTED");
  engine.abort(aborted.id);
  expect((await start().answer).end).toBe(outputKinds.length);
});

test("a request past its deadline ends although nothing else happens", async () => {
  const ends: string[] = [];
  const engine = model.createEngine({ ...engineOptions, cacheBytes: 1 }, (rows, _numbers, failures) => {
    for (let row = 0; row < rows.length; row += 4)
      if (rows[row + 1] === outputKinds.failed) ends.push(failures[rows[row + 2]!]!.code);
  });
  expect(code(() => engine.submit(request({ maxNewTokens: 100 })))).toBe("ERR_CACHE_FULL");
  engine.submit(request({ maxNewTokens: 40, deadlineMs: 0.001 }));
  while (ends.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  expect(ends).toEqual(["ERR_DEADLINE"]);
});

test("closing ends what is under way before it resolves, and the model can have another engine", async () => {
  const { engine, start } = await serveLong();
  expect(code(() => model.createEngine(engineOptions, () => {}))).toBe("ERR_STATE");
  const pending = [start(long), start(long)].map(({ answer }) => answer);
  const order: string[] = [];
  for (const answer of pending) answer.then(({ code }) => order.push(code!));
  const closed = engine.close().promise.then(() => order.push("closed"));
  expect(code(() => engine.submit(request()))).toBe("ERR_DISPOSED");
  await closed;
  expect(order).toEqual(["ERR_ABORTED", "ERR_ABORTED", "closed"]);
  expect((await serve().start().answer).end).toBe(outputKinds.length);
});

test("disposing of the model ends its requests with ERR_DISPOSED", async () => {
  const { engine, start } = await serveLong();
  const { answer } = start(long);
  model.dispose();
  expect((await answer).code).toBe("ERR_DISPOSED");
  for (const call of [() => engine.stats(), () => engine.submit(request()), () => engine.abort(0)])
    expect(code(call)).toBe("ERR_DISPOSED");
});

/** What TypeScript never passes. */
const wrongBiases = [
  { ids: Int32Array.of(128), biases: Float32Array.of(1) },
  { ids: Int32Array.of(-1), biases: Float32Array.of(1) },
  { ids: Int32Array.of(2, 1), biases: Float32Array.of(1, 1) },
  { ids: Int32Array.of(1, 1), biases: Float32Array.of(1, 1) },
  { ids: Int32Array.of(1), biases: Float32Array.of(1, 1) },
  { ids: Int32Array.of(1), biases: Float32Array.of(Number.NaN) },
  { ids: Int32Array.of(1), biases: Float32Array.of(101) },
  { ids: Int32Array.from({ length: 100_000 }, (_, id) => id), biases: new Float32Array(100_000) },
  { ids: [1], biases: [1] },
  undefined,
  5,
];

test("requests beyond those that wait get -1", async () => {
  const { start } = await serveLong({ maxSequences: 1, maxQueue: 1 });
  expect([1, 2, 3].map(() => start(long).id)).toEqual([0, 1, -1]);
});

test("wrong arguments give their codes", () => {
  const { engine } = serve();
  const wrong: Partial<NativeEngineRequest>[] = [
    { tokenIds: new Int32Array() },
    { tokenIds: Int32Array.of(128) },
    { maxNewTokens: 0 },
    { weight: 0 },
    { tenant: -1 },
    { domain: 0.5 },
    { topLogProbs: 21 },
    { scoreFrom: -2 },
    { scoreFrom: 0 },
    { scoreFrom: 3, maxNewTokens: 0 },
    { scoreFrom: 0.5 },
    { deadlineMs: -1 },
    { deadlineMs: Number.NaN },
    { version: {} as never },
    { sampling: { ...greedy, topP: 0 } },
    ...[2.5, -3, Number.NaN].flatMap((bad) => [
      { sampling: { ...greedy, frequencyPenalty: bad } },
      { sampling: { ...greedy, presencePenalty: bad } },
    ]),
    ...wrongBiases.map((logitBias) => ({ sampling: { ...greedy, logitBias: logitBias as never } })),
  ];
  for (const more of wrong) expect(code(() => engine.submit(request(more)))).toBe("ERR_ARGUMENT");
  expect(code(() => engine.submit(request({ tokenIds: new Int32Array(129) })))).toBe("ERR_CONTEXT_LENGTH");
  for (const share of [0, 1, Number.NaN])
    expect(code(() => model.createEngine({ ...engineOptions, trainingShare: share }, () => {}))).not.toBe("none");
});

const run = (scenario: string) => {
  const child = spawnSync(process.execPath, [join(__dirname, "engine_child.cjs"), scenario], { encoding: "utf8" });
  return { status: child.status, out: child.stdout.trim(), error: child.stderr };
};

test("a process with an idle engine ends, and one with a request under way waits for it", () => {
  expect(run("idle")).toEqual({ status: 0, out: "end 6", error: "" });
  expect(run("awaited")).toEqual({ status: 0, out: "end 7", error: "" });
});

test("a process and a worker end while requests are under way", () => {
  expect(run("exit")).toEqual({ status: 5, out: "", error: "" });
  expect(run("terminate")).toEqual({ status: 0, out: "end 6", error: "" });
});

test("what the callback throws is an uncaught exception", () => {
  expect(run("throwing")).toEqual({ status: 0, out: "meant to be", error: "" });
});
