/** Runs of a MultiTrainer: each equals a Trainer's, whatever it shares steps and evaluations with; their ends and events. */
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { RedAdapter } from "../../lib/adapter/red_adapter";
import { RubricateError } from "../../lib/errors";
import { limits } from "../../lib/limits";
import type { TrainEvent } from "../../lib/train/events";
import { MultiTrainer } from "../../lib/train/multi_trainer";
import { temporaryFolder } from "./failing_files";
import { hooks } from "./fake_native";
import { added, eventsOf, failure, model, sourceOf, untilStep, vectorsAlone } from "./multi_trainer_support";
import { newTrainer, outcomeOf, someExamples, timeless } from "./training_support";

jest.mock("../../lib/native", () => require("./fake_native"));

let root: string;
beforeEach(() => {
  root = temporaryFolder();
  Object.assign(hooks, { onJob: undefined, onStep: undefined, onEvaluate: undefined });
});
afterEach(() => {
  rmSync(root, { recursive: true, force: true });
  jest.restoreAllMocks();
});

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
