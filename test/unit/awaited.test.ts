/** Generators that are awaited instead of iterated, and `train`, which is there to be awaited. */
import { rmSync } from "node:fs";
import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { iteratedOnly, returned } from "../../lib/generators";
import { temporaryFolder } from "./failing_files";
import { fakeModel, hooks } from "./fake_native";
import { abortInJob, newTrainer, outcomeOf, timeless } from "./training_support";

jest.mock("../../lib/native", () => require("./fake_native"));

const model = fakeModel();
let root: string;
beforeEach(() => {
  root = temporaryFolder();
  hooks.onJob = undefined;
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const vectorsOf = ({ adapter }: ReturnType<typeof newTrainer>) => [...adapter.vectors()];
const locks = () => readdir(root).then((names) => names.filter((name) => name.startsWith(".rubricate-lock")));
const summaryOf = (summary: object) => timeless([{ type: "end", ...summary } as never])[0];

describe("a generator that is awaited", () => {
  const wrong = (what: string, instead: string) => ({
    name: "RubricateError",
    code: "ERR_STATE",
    message: expect.stringMatching(`^Expected the generator of ${what} to be iterated .*: await ${instead} instead`),
  });

  test("of run says so, locks nothing, trains nothing, and can still be iterated", async () => {
    const made = newTrainer(model, { outputDir: root, overwrite: true });
    const before = vectorsOf(made);
    const run = made.trainer.run();
    const says = wrong("run", "trainer.train\\(\\.\\.\\.\\)");
    // @ts-expect-error TypeScript refuses it, too
    await expect((async () => await run)()).rejects.toMatchObject(says);
    expect(vectorsOf(made)).toEqual(before);
    expect(await readdir(root)).toEqual([]);
    expect(await made.trainer.train()).toMatchObject({ steps: 10 });
    await expect(run.next()).resolves.toMatchObject({ done: false, value: { type: "start" } });
    await run.return(undefined as never);
    expect(await locks()).toEqual([]);
  });

  const letters = async function* () {
    yield "a";
    yield "b";
    return "end";
  };
  const only = () => iteratedOnly(letters(), "spell", "read()");

  test("has the caller's line in its stack", async () => {
    const awaitsIt = async () => await (only() as AsyncGenerator<string>);
    await expect(awaitsIt()).rejects.toMatchObject({ stack: expect.stringContaining("awaitsIt") });
  });

  test("calls handlers of then() as a rejected promise does", async () => {
    const then = only().then as unknown as Promise<string>["then"];
    await expect(then((text) => text)).rejects.toMatchObject(wrong("spell", "read\\(\\)"));
    await expect(then(undefined, () => "handled")).resolves.toBe("handled");
  });

  test("is otherwise an ordinary generator", async () => {
    const all = async (source: AsyncIterable<unknown>) => {
      const found: string[] = [];
      for await (const one of source) found.push(String(one));
      return found;
    };
    const delegating = async function* () {
      yield* only();
    };
    expect(await all(only())).toEqual(["a", "b"]);
    expect(await all(delegating())).toEqual(["a", "b"]);
    expect(await all(Readable.from(only()))).toEqual(["a", "b"]);
    await writeFile(join(root, "written"), only());
    const inObject = async () => ({ letters: only() });
    expect(await all((await inObject()).letters)).toEqual(["a", "b"]);
    expect(await returned(only())).toBe("end");
    expect(Object.keys(only())).toEqual([]);
  });
});

describe("train", () => {
  test("does what iterating run does", async () => {
    const [iterated, awaited] = [newTrainer(model, { eval: 0.25 }), newTrainer(model, { eval: 0.25 })];
    const { summary } = await outcomeOf(iterated.trainer);
    expect(summaryOf(await awaited.trainer.train())).toEqual(summaryOf(summary!));
    expect(vectorsOf(awaited)).toEqual(vectorsOf(iterated));
  });

  test("again continues with the adapter, as a second run does; two at once are refused", async () => {
    const [iterated, awaited] = [newTrainer(model), newTrainer(model)];
    for (let at = 0; at < 2; at++) await outcomeOf(iterated.trainer);
    const first = awaited.trainer.train();
    await expect(awaited.trainer.train()).rejects.toMatchObject({ code: "ERR_STATE" });
    await first;
    await first; // the same promise: trains nothing again
    await awaited.trainer.train();
    expect(vectorsOf(awaited)).toEqual(vectorsOf(iterated));
  });

  test("starts at once, without being awaited", async () => {
    const made = newTrainer(model);
    const training = made.trainer.train();
    expect((await outcomeOf(newTrainer(model, { adapter: made.adapter }).trainer)).error).toMatchObject({
      code: "ERR_BUSY",
    });
    await training;
  });

  test("ends with the run's error, keeps its last step, and releases its locks", async () => {
    const made = newTrainer(model, { outputDir: root });
    let steps = 0;
    hooks.onJob = () => {
      if (++steps === 4) throw new RangeError("from the core");
    };
    await expect(made.trainer.train()).rejects.toThrow("from the core");
    hooks.onJob = undefined;
    expect(await readdir(root)).toContain("checkpoint-3");
    expect(await locks()).toEqual([]);
    expect(await made.trainer.train({ resume: true })).toMatchObject({ steps: 10 });
  });

  test("is stopped by its signal", async () => {
    const { trainer } = newTrainer(model, { outputDir: root });
    await expect(trainer.train({ signal: AbortSignal.abort("no") })).rejects.toMatchObject({
      code: "ERR_ABORTED",
      cause: "no",
    });
    await expect(trainer.train({ signal: abortInJob(3) })).rejects.toMatchObject({ code: "ERR_ABORTED" });
    expect(await readdir(root)).toContain("checkpoint-3");
    expect(await locks()).toEqual([]);
  });

  test("emits notices as process warnings", async () => {
    const run = { outputDir: root, checkpointEverySteps: 2, keepCheckpoints: 9 };
    await newTrainer(model, { ...run, maxSteps: 4 }).trainer.train();
    await writeFile(join(root, "checkpoint-4", "trainer_state.json"), "damaged");
    const warned = jest.spyOn(process, "emitWarning").mockImplementation(() => {});
    await newTrainer(model, { ...run, maxSteps: 4 }).trainer.train({ resume: true });
    const calls = warned.mock.calls.slice();
    warned.mockRestore();
    expect(calls).toEqual([[expect.stringContaining("checkpoint-4"), "RubricateNotice"]]);
  });

  test("names itself in the error of a wrong option", async () => {
    await expect(newTrainer(model).trainer.train({ resum: true } as never)).rejects.toMatchObject({
      code: "ERR_ARGUMENT",
      message: expect.stringMatching(/^Unknown option "resum" for Trainer.train/),
    });
  });
});

test("a run that is iterated, or never used, leaves no unhandled rejection", async () => {
  const unhandled = jest.fn();
  process.on("unhandledRejection", unhandled);
  newTrainer(model).trainer.run();
  expect((await outcomeOf(newTrainer(model).trainer, { signal: AbortSignal.abort() })).error).toMatchObject({
    code: "ERR_ABORTED",
  });
  await new Promise((resolve) => setImmediate(resolve));
  process.off("unhandledRejection", unhandled);
  expect(unhandled).not.toHaveBeenCalled();
});
