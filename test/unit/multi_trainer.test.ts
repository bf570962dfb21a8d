import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { RedAdapter, type RedAdapterOptions } from "../../lib/adapter/red_adapter";
import { sourceBrand } from "../../lib/brands";
import { RubricateError } from "../../lib/errors";
import { replaceFileOperations } from "../../lib/files/operations";
import { limits } from "../../lib/limits";
import { atOnce } from "../../lib/steps";
import type { TrainEvent } from "../../lib/train/events";
import { ExampleArray, type ExampleSource } from "../../lib/train/examples";
import { type MultiRunOptions, MultiTrainer, type MultiTrainerOptions } from "../../lib/train/multi_trainer";
import { Trainer } from "../../lib/train/trainer";
import type { TrainingRun } from "../../lib/train/training_run";
import { temporaryFolder } from "./failing_files";
import { fakeModel, hooks } from "./fake_native";
import { newTrainer, outcomeOf, someExamples, timeless } from "./training_support";

jest.mock("../../lib/native", () => require("./fake_native"));

const model = fakeModel();
let root: string;
beforeEach(() => {
  root = temporaryFolder();
  Object.assign(hooks, { onJob: undefined, onStep: undefined, onEvaluate: undefined });
});
afterEach(() => {
  rmSync(root, { recursive: true, force: true });
  jest.restoreAllMocks();
});

const options = { train: someExamples(13), epochs: 2, batchSize: 3, learningRate: 0.05 };

/** Adds a run of a new adapter. */
function added(trainer: MultiTrainer, name: string, more: Partial<MultiRunOptions> = {}, layout?: RedAdapterOptions) {
  const adapter = RedAdapter.create(model, layout);
  return { adapter, run: trainer.add(name, { ...options, adapter, ...more }) };
}

async function vectorsAlone(more: object = {}): Promise<Map<string, Float32Array>> {
  const { trainer, adapter } = newTrainer(model, more);
  expect((await outcomeOf(trainer)).error).toBeUndefined();
  return adapter.vectors();
}

async function eventsOf(run: AsyncIterable<TrainEvent>): Promise<TrainEvent[]> {
  const events: TrainEvent[] = [];
  for await (const event of run) events.push(event);
  return events;
}

const failure = async (promise: Promise<unknown>): Promise<RubricateError> => {
  const error = await promise.then(
    () => undefined,
    (reason) => reason,
  );
  expect(error).toBeInstanceOf(RubricateError);
  return error;
};

/** Data that an array stands for, of which reads can be delayed or fail. */
function sourceOf(count: number, read: (call: number) => Promise<void>): ExampleSource {
  const source = atOnce(ExampleArray.steps(someExamples(count), "train"));
  let calls = 0;
  return new Proxy(source, {
    get: (from, name) => {
      if (name === sourceBrand) return true;
      if (name !== "examples") return Reflect.get(from, name, from);
      return async (indices: Int32Array) => {
        await read(++calls);
        return from.examples(indices);
      };
    },
  });
}

const untilStep = async (run: TrainingRun, step: number) => {
  for await (const event of run) if (event.type === "step" && event.step === step) return;
};

describe("a run", () => {
  test("has the events and the summary of a Trainer's run", async () => {
    const { events, summary } = await outcomeOf(newTrainer(model).trainer);
    const { run } = added(new MultiTrainer({ model }), "one");
    expect(run.name).toBe("one");
    const own = await eventsOf(run);
    expect(timeless(own)).toEqual(timeless(events));
    expect(own.map(({ type }) => type)).toEqual(events.map(({ type }) => type));
    expect(await run.done).toMatchObject({ steps: summary!.steps, trainLoss: summary!.trainLoss, reason: "done" });
    expect(await eventsOf(run)).toEqual([]);
  });

  test("finds its learning rate by a sweep in shared steps", async () => {
    const sweep = { learningRate: "sweep", eval: 0.3, epochs: 100 } as const;
    const expected = await vectorsAlone(sweep);
    const trainer = new MultiTrainer({ model });
    const both = [added(trainer, "a", sweep), added(trainer, "b", sweep)];
    await Promise.all(both.map(({ run }) => run.done));
    for (const { adapter } of both) expect(adapter.vectors()).toEqual(expected);
  });

  test("that waits for its examples is passed over, and is the same in the end", async () => {
    const expected = await vectorsAlone();
    const trainer = new MultiTrainer({ model });
    let release = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const slow = added(trainer, "slow", {
      train: sourceOf(13, (call) => (call > 2 ? held : Promise.resolve())) as never,
    });
    const other = added(trainer, "other");
    await other.run.done;
    expect(other.adapter.vectors()).toEqual(expected);
    expect(trainer.runs).toEqual([slow.run]);
    release();
    await slow.run.done;
    expect(slow.adapter.vectors()).toEqual(expected);
  });
});

describe("evaluations", () => {
  const evaluated = { eval: someExamples(40, 7), evalEverySteps: 2, evalEveryEpoch: false, keepBest: true };

  const eventsAlone = async (more: object = {}) =>
    timeless((await outcomeOf(newTrainer(model, { ...evaluated, ...more }).trainer)).events);

  test("of several runs share calls, and have the numbers of the runs alone", async () => {
    const rates = [0.01, 0.02, 0.03, 0.04, 0.05];
    const expected = [];
    for (const learningRate of rates) expected.push(await eventsAlone({ learningRate }));
    let most = 0;
    hooks.onEvaluate = ({ length }) => {
      most = Math.max(most, length);
    };
    const trainer = new MultiTrainer({ model });
    const all = rates.map((learningRate, at) => added(trainer, `${at}`, { ...evaluated, learningRate }));
    for (const [at, own] of (await Promise.all(all.map(({ run }) => eventsOf(run)))).entries())
      expect(timeless(own)).toEqual(expected[at]);
    expect(most).toBeGreaterThan(1);
  });

  test("of more rows than a call may have go alone", async () => {
    const expected = await eventsAlone();
    const sizes = new Set<number>();
    hooks.onEvaluate = ({ length }) => sizes.add(length);
    const trainer = new MultiTrainer({ model, maxRows: 20 });
    const all = ["a", "b"].map((name) => added(trainer, name, evaluated));
    for (const own of await Promise.all(all.map(({ run }) => eventsOf(run)))) expect(timeless(own)).toEqual(expected);
    expect(sizes).toEqual(new Set([1]));
  });

  test("that fail end their run alone: vectors that are not finite, an adapter that is gone", async () => {
    const expected = await eventsAlone();
    const trainer = new MultiTrainer({ model });
    const [sound, broken, gone] = ["sound", "broken", "gone"].map((name) =>
      added(trainer, name, { ...evaluated, ...(name === "broken" && { evalOnStart: true }) }),
    );
    (broken!.adapter.native as never as { current: Float32Array }).current.fill(Number.NaN);
    hooks.onEvaluate = (adapters) => {
      if (adapters.includes(gone!.adapter.native)) throw new RubricateError("ERR_DISPOSED", "It is gone");
    };
    const errors = [broken!, gone!].map(({ run }) => failure(run.done));
    expect(timeless(await eventsOf(sound!.run))).toEqual(expected);
    expect(await errors[0]).toMatchObject({ code: "ERR_NOT_FINITE" });
    expect(await errors[1]).toMatchObject({ code: "ERR_DISPOSED" });
  });

  test("that find too little memory together are halved", async () => {
    const expected = await eventsAlone();
    hooks.onEvaluate = ({ length }) => {
      if (length > 2) throw new RubricateError("ERR_OUT_OF_MEMORY", "too many");
    };
    const trainer = new MultiTrainer({ model });
    const all = Array.from({ length: 5 }, (_, at) => added(trainer, `${at}`, evaluated));
    for (const own of await Promise.all(all.map(({ run }) => eventsOf(run)))) expect(timeless(own)).toEqual(expected);
  });

  test("are given up by the signal of their run, and the others go on", async () => {
    const expected = await eventsAlone();
    const trainer = new MultiTrainer({ model });
    const sound = added(trainer, "sound", evaluated);
    const controller = new AbortController();
    const ended = added(trainer, "ended", { ...evaluated, signal: controller.signal });
    hooks.onEvaluate = ({ length }) => {
      if (length === 2) controller.abort("enough");
    };
    expect(await failure(ended.run.done)).toMatchObject({ code: "ERR_ABORTED", cause: "enough" });
    expect(timeless(await eventsOf(sound.run))).toEqual(expected);
    expect(trainer.runs).toEqual([]);
  });
});

describe("the error of one run is its own", () => {
  test("a row that cannot be read", async () => {
    const expected = await vectorsAlone();
    const trainer = new MultiTrainer({ model });
    const read = async (call: number) => {
      if (call === 3) throw new RubricateError("ERR_DATA", "The file has changed");
    };
    const broken = added(trainer, "broken", { train: sourceOf(13, read) as never, outputDir: join(root, "broken") });
    const sound = added(trainer, "sound");
    const error = await failure(broken.run.done);
    expect(error).toMatchObject({ code: "ERR_DATA" });
    expect(error.message).toMatch(/^The file has changed; the last finished step, 2, is in .*checkpoint-2: /);
    await sound.run.done;
    expect(sound.adapter.vectors()).toEqual(expected);
  });

  test("a full disk", async () => {
    const trainer = new MultiTrainer({ model });
    const full = added(trainer, "full", { outputDir: join(root, "full"), checkpointEverySteps: 1 });
    const sound = added(trainer, "sound", { outputDir: join(root, "sound"), checkpointEverySteps: 1 });
    await untilStep(full.run, 1);
    const noSpace = Object.assign(new Error("no space left on device"), { code: "ENOSPC" });
    replaceFileOperations((real) => ({
      ...real,
      create: (path) => (path.startsWith(join(root, "full")) ? Promise.reject(noSpace) : real.create(path)),
    }));
    const error = await failure(full.run.done);
    expect(error).toMatchObject({ code: "ERR_FILE", message: expect.stringContaining("no space left on device") });
    await sound.run.done;
    replaceFileOperations(undefined);
    expect(sound.adapter.vectors()).toEqual(await vectorsAlone());
  });

  test("a folder that is lost", async () => {
    const trainer = new MultiTrainer({ model });
    const full = added(trainer, "full", { outputDir: join(root, "full"), checkpointEverySteps: 1 });
    const sound = added(trainer, "sound", { outputDir: join(root, "sound"), checkpointEverySteps: 1 });
    await untilStep(full.run, 1);
    rmSync(join(root, "full"), { recursive: true, force: true });
    expect(["ERR_BUSY", "ERR_FILE"]).toContain((await failure(full.run.done)).code);
    await sound.run.done;
    expect(sound.adapter.vectors()).toEqual(await vectorsAlone());
  });

  test("values that are not finite, only iterated", async () => {
    const trainer = new MultiTrainer({ model });
    const broken = added(trainer, "broken", { epochs: 100_000 });
    const events = eventsOf(broken.run);
    const sound = added(trainer, "sound", { epochs: 20 });
    hooks.onStep = (tenants) => {
      if (tenants === 2) (broken.adapter.native as never as { current: Float32Array }).current.fill(Number.NaN);
    };
    await expect(events).rejects.toMatchObject({ code: "ERR_NOT_FINITE" });
    await sound.run.done;
    expect(sound.adapter.vectors()).toEqual(await vectorsAlone({ epochs: 20 }));
  });

  test("is told by a warning if nobody looks at the run", async () => {
    const warn = jest.spyOn(process, "emitWarning").mockImplementation(() => {});
    const trainer = new MultiTrainer({ model });
    added(trainer, "unseen", { train: [] });
    const sound = added(trainer, "sound");
    await sound.run.done;
    expect(warn.mock.calls).toEqual([
      [expect.stringMatching(/^The run unseen has failed: Expected at least one supervised token/), "RubricateNotice"],
    ]);
  });

  test("too little memory for all halves the step", async () => {
    const expected = await vectorsAlone();
    const sizes: number[] = [];
    hooks.onStep = (tenants) => {
      sizes.push(tenants);
      if (tenants > 2) throw new RubricateError("ERR_OUT_OF_MEMORY", "too many");
    };
    const trainer = new MultiTrainer({ model });
    const all = Array.from({ length: 5 }, (_, at) => added(trainer, `${at}`));
    await Promise.all(all.map(({ run }) => run.done));
    for (const { adapter } of all) expect(adapter.vectors()).toEqual(expected);
    expect(Math.max(...sizes)).toBeGreaterThan(2);
  });

  test("but a lost device ends all", async () => {
    hooks.onStep = () => {
      throw new RubricateError("ERR_DEVICE_LOST", "gone");
    };
    const trainer = new MultiTrainer({ model });
    const all = Array.from({ length: 3 }, (_, at) => added(trainer, `${at}`));
    for (const { run } of all) expect(await failure(run.done)).toMatchObject({ code: "ERR_DEVICE_LOST" });
  });
});

describe("ending a run", () => {
  test("cancel counts the step under way and writes its checkpoint, from which the run is resumed", async () => {
    const long = { epochs: 20 };
    const expected = await vectorsAlone(long);
    const trainer = new MultiTrainer({ model });
    const outputDir = join(root, "out");
    const { run } = added(trainer, "one", { ...long, outputDir });
    const other = added(trainer, "other", { epochs: 100_000 });
    other.run.done.catch(() => {}); // it goes on without a reader
    await untilStep(run, 1);
    await new Promise<void>((resolve, reject) => {
      hooks.onStep = (tenants) => {
        if (tenants === 2) run.cancel().then(resolve, reject);
      };
    });
    hooks.onStep = undefined;
    expect(await failure(run.done)).toMatchObject({ code: "ERR_ABORTED" });
    await run.cancel(); // it has ended
    const [checkpoint] = readdirSync(outputDir).filter((name) => name.startsWith("checkpoint-"));
    const again = added(trainer, "one", { ...long, outputDir, resume: true });
    expect((await eventsOf(again.run))[0]).toMatchObject({ resumedStep: Number(checkpoint!.slice(11)) });
    expect(again.adapter.vectors()).toEqual(expected);
    await other.run.cancel();
  });

  test("a signal does the same, with its reason", async () => {
    const trainer = new MultiTrainer({ model });
    const before = added(trainer, "before", { signal: AbortSignal.abort("early") });
    expect(await failure(before.run.done)).toMatchObject({ code: "ERR_ABORTED", cause: "early" });
    const controller = new AbortController();
    const { run } = added(trainer, "one", { signal: controller.signal });
    await untilStep(run, 2);
    controller.abort("late");
    expect(await failure(run.done)).toMatchObject({ code: "ERR_ABORTED", cause: "late" });
  });

  test("close cancels all, and no run is taken any more", async () => {
    const trainer = new MultiTrainer({ model });
    const all = ["a", "b"].map((name) => added(trainer, name, { outputDir: join(root, name), epochs: 1000 }));
    await untilStep(all[0]!.run, 3);
    await trainer.close();
    expect(trainer.runs).toEqual([]);
    for (const { run } of all) expect(await failure(run.done)).toMatchObject({ code: "ERR_ABORTED" });
    expect(readdirSync(join(root, "a")).filter((name) => name.startsWith("checkpoint-"))).toHaveLength(1);
    expect(() => added(trainer, "c")).toThrow(
      expect.objectContaining({ code: "ERR_STATE", message: "The MultiTrainer takes no more runs: it was closed" }),
    );
    await trainer.close();
  });
});

describe("events", () => {
  const many = { train: someExamples(4), epochs: undefined as never, maxSteps: limits.queuedEvents + 60, batchSize: 4 };
  const most = limits.queuedEvents;

  test("wait for a reader, up to queuedEvents, and no more; other runs go on", async () => {
    const trainer = new MultiTrainer({ model });
    const unread = added(trainer, "unread", many);
    const other = added(trainer, "other", { ...many, maxSteps: most + 100 });
    const events = eventsOf(other.run);
    await other.run.done;
    expect((await events).length).toBe(most + 102);
    expect(trainer.runs).toEqual([unread.run]);
    const queue = (unread.run as never as { queue: { unread(): TrainEvent[] } }).queue.unread();
    expect(queue).toHaveLength(most);
    expect(queue.at(-1)).toMatchObject({ type: "step", step: most - 1 });
    const read = await eventsOf(unread.run);
    expect(read.flatMap((event) => (event.type === "step" ? [event.step] : []))).toEqual(
      Array.from({ length: many.maxSteps }, (_, at) => at + 1),
    );
  });

  test("do not hold up somebody who only awaits the end", async () => {
    const { run } = added(new MultiTrainer({ model }), "one", many);
    expect(await run.done).toMatchObject({ steps: many.maxSteps });
    expect(await eventsOf(run)).toHaveLength(most);
  });

  test("a run that waits for its reader can be cancelled", async () => {
    const trainer = new MultiTrainer({ model });
    const { run } = added(trainer, "one", many);
    const other = added(trainer, "other", { ...many, maxSteps: most + 100 });
    await other.run.done;
    await run.cancel();
    expect(trainer.runs).toEqual([]);
  });
});

describe("publishing", () => {
  /** An engine that keeps what it was given. */
  function engineOf() {
    const versions: { name: string; values: Float32Array[] }[] = [];
    const set = async (name: string, adapter: RedAdapter) =>
      void versions.push({ name, values: [...adapter.vectors().values()] });
    return { versions, adapters: { set } };
  }

  test.each([
    ["end", {}, 1],
    ["best", { eval: 0.3, evalEverySteps: 2, evalEveryEpoch: false }, undefined],
    [{ everySteps: 4 }, {}, 2],
  ] as const)("when %p", async (when, more, count) => {
    const engine = engineOf();
    const { adapter, run } = added(new MultiTrainer({ model }), "one", {
      ...more,
      publish: { engine, name: "support", when },
    });
    const events = await eventsOf(run);
    const best = events.filter((event) => event.type === "eval" && event.best).length;
    expect(engine.versions).toHaveLength(count ?? best);
    expect(new Set(engine.versions.map(({ name }) => name))).toEqual(new Set(["support"]));
    if (when === "end" || when === "best")
      expect(engine.versions.at(-1)!.values).toEqual([...adapter.vectors().values()]);
  });

  test("that fails ends its run", async () => {
    const engine = { adapters: { set: () => Promise.reject(new RubricateError("ERR_OUT_OF_MEMORY", "full")) } };
    const trainer = new MultiTrainer({ model });
    const broken = added(trainer, "broken", { publish: { engine, name: "support" } });
    const sound = added(trainer, "sound");
    expect(await failure(broken.run.done)).toMatchObject({ code: "ERR_OUT_OF_MEMORY", message: "full" });
    await sound.run.done;
  });

  test.each([
    [{ engine: {}, name: "a" }, "Expected an Engine for publish.engine but received"],
    [{ engine: engineOf(), name: "" }, "Expected the name of an adapter for publish.name but received"],
    [
      { engine: engineOf(), name: "a", when: "now" },
      'Expected "best", "end" or { everySteps } for publish.when but received',
    ],
    [{ engine: engineOf(), name: "a", when: "best" }, 'publish.when "best" needs eval'],
    [
      { engine: engineOf(), name: "a", when: { everySteps: 0 } },
      "Expected a positive integer for publish.when.everySteps",
    ],
    [{ engine: engineOf(), name: "a", at: 3 }, "at"],
  ])("of %p is refused", (publish, message) => {
    expect(() => added(new MultiTrainer({ model }), "one", { publish: publish as never })).toThrow(
      expect.objectContaining({ code: "ERR_ARGUMENT", message: expect.stringContaining(message) }),
    );
  });
});

describe("a refused run", () => {
  const refusals = (adapter: RedAdapter): [object | undefined, string, string][] => [
    [
      { method: "full" },
      "ERR_ARGUMENT",
      "Expected that of the adapter (a Trainer trains all weights of a model) for method but received",
    ],
    [{ weight: 0 }, "ERR_ARGUMENT", "Expected a number from 0.001 to 1000 for weight but received 0"],
    [
      { weight: "2" },
      "ERR_ARGUMENT",
      'Expected a number from 0.001 to 1000 for weight but received "2" of type string',
    ],
    [{ model }, "ERR_ARGUMENT", "model"],
    [{ signal: 3 }, "ERR_ARGUMENT", "for signal but received 3"],
    [
      { adapter: undefined },
      "ERR_ARGUMENT",
      "Expected a RedAdapter, a LoraAdapter, an Ia3Adapter or a MethodAdapter for adapter but received undefined",
    ],
    [{ learningRates: 1 }, "ERR_ARGUMENT", "learningRate"],
    [{ adapter: RedAdapter.create(fakeModel()) }, "ERR_FOREIGN", "model"],
    [{ adapter }, "ERR_BUSY", "The adapter is in use by another training run"],
    [
      { outputDir: join(root, "x", "..", "out") },
      "ERR_BUSY",
      `Expected an outputDir of its own for the run "new" but "one" writes`,
    ],
    [undefined, "ERR_ARGUMENT", "options"],
  ];

  test("has its code and sentence, and locks nothing", async () => {
    const trainer = new MultiTrainer({ model });
    const { adapter, run } = added(trainer, "one", { outputDir: join(root, "out"), epochs: 1000 });
    for (const [more, code, message] of refusals(adapter)) {
      const given = more && { ...options, adapter: RedAdapter.create(model), ...more };
      const error = await failure((async () => trainer.add("new", given as never))());
      expect([more, error.code, error.message]).toEqual([more, code, expect.stringContaining(message)]);
    }
    const free = RedAdapter.create(model);
    for (const [name, code] of [
      ["one", "ERR_BUSY"],
      ["", "ERR_ARGUMENT"],
      [7, "ERR_ARGUMENT"],
    ] as const)
      expect(() => trainer.add(name as string, { ...options, adapter: free })).toThrow(
        expect.objectContaining({ code }),
      );
    await run.cancel();
    const again = trainer.add("one", { ...options, adapter, outputDir: join(root, "out"), overwrite: true });
    await again.done;
    await trainer.add("one", { ...options, adapter: free }).done;
  });

  test("a name may have runNameCharacters characters, and no more", async () => {
    const trainer = new MultiTrainer({ model });
    const longest = "n".repeat(limits.runNameCharacters);
    await added(trainer, longest).run.done;
    expect(() => added(trainer, `${longest}n`)).toThrow(
      expect.objectContaining({
        code: "ERR_ARGUMENT",
        message: expect.stringContaining("1 to 256 characters for name"),
      }),
    );
  });

  test("an adapter is a Trainer's or a MultiTrainer's", async () => {
    const { trainer, adapter } = newTrainer(model);
    const running = trainer.run();
    await running.next();
    const multi = new MultiTrainer({ model });
    const busy = expect.objectContaining({ code: "ERR_BUSY" });
    expect(() => multi.add("one", { ...options, adapter })).toThrow(busy);
    await running.return(undefined as never);
    const run = multi.add("one", { ...options, adapter });
    const { error } = await outcomeOf(new Trainer({ ...options, model, adapter }));
    expect(error).toMatchObject({ code: "ERR_BUSY" });
    await run.done;
  });

  test("a folder that a Trainer writes into ends the run", async () => {
    const outputDir = join(root, "out");
    const running = newTrainer(model, { outputDir }).trainer.run();
    await running.next();
    const { run } = added(new MultiTrainer({ model }), "one", { outputDir });
    expect(await failure(run.done)).toMatchObject({ code: "ERR_BUSY" });
    await running.return(undefined as never);
  });

  test.each([
    [{ maxRows: 0 }, "Expected an integer from 1 to 2147483647 for maxRows but received 0"],
    [{ maxTenants: 1.5 }, "Expected an integer from 1 to 2147483647 for maxTenants but received 1.5"],
    [{ model: {} }, "Expected a LanguageModel for model but received"],
    [{ rows: 3 }, "rows"],
  ])("options of a MultiTrainer: %p", (more, message) => {
    expect(() => new MultiTrainer({ model, ...(more as Partial<MultiTrainerOptions>) })).toThrow(
      expect.objectContaining({ code: "ERR_ARGUMENT", message: expect.stringContaining(message) }),
    );
  });
});
