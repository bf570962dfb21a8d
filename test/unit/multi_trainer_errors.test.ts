/** A MultiTrainer's runs that fail, which end alone, and those that are refused, which lock nothing. */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { RedAdapter } from "../../lib/adapter/red_adapter";
import { RubricateError } from "../../lib/errors";
import { replaceFileOperations } from "../../lib/files/operations";
import { limits } from "../../lib/limits";
import { MultiTrainer, type MultiTrainerOptions } from "../../lib/train/multi_trainer";
import { Trainer } from "../../lib/train/trainer";
import { temporaryFolder } from "./failing_files";
import { fakeModel, hooks } from "./fake_native";
import { added, eventsOf, failure, model, options, sourceOf, untilStep, vectorsAlone } from "./multi_trainer_support";
import { newTrainer, outcomeOf } from "./training_support";

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
