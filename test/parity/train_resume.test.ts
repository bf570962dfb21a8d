/** Runs of the real core, stopped in the middle of steps and resumed, with other numbers of threads: the same bits. */
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { RedAdapter } from "../../lib/adapter/red_adapter";
import { Dataset } from "../../lib/data/dataset";
import type { Example } from "../../lib/data/types";
import { embeddedModelDir } from "../../lib/embedded";
import type { RubricateError } from "../../lib/errors";
import { LanguageModel } from "../../lib/model/model";
import { native } from "../../lib/native";
import type { EvalEvent } from "../../lib/train/events";
import type { TrainerOptions } from "../../lib/train/options";
import { Trainer } from "../../lib/train/trainer";
import { temporaryFolder } from "../unit/failing_files";
import { device, loadFixture } from "./fixtures";

// Where a processor plays the device, a run takes many seconds: half of it, stopped at one moment, stands for all.
const [epochs, delays, pools] = device === "cpu" ? [4, [0, 1, 2, 3], [2, 3, 7]] : [2, [1], [2]];

let model: LanguageModel;
let root: string;
beforeAll(async () => {
  model = await loadFixture("gqa");
});
afterAll(() => model?.dispose());
beforeEach(() => {
  root = temporaryFolder();
});
afterEach(() => {
  rmSync(root, { recursive: true, force: true });
  native().setThreads(1);
});

const examples: Example[] = Array.from({ length: 40 }, (_, at) => {
  const length = 3 + ((at * 7) % 23);
  return {
    tokenIds: Int32Array.from({ length }, (_, i) => (at * 31 + i * i * 17) % 128),
    supervised: Uint8Array.from({ length }, (_, i) => (i > length / 3 ? 1 : 0)),
    line: at + 1,
  };
});

const kinds: [string, Partial<TrainerOptions>][] = [
  ["shuffled, accumulated and evaluated", { batchSize: 3, gradientAccumulationSteps: 2, eval: 0.2, warmupRatio: 0.1 }],
  ["packed", { packing: { maxTokens: 48 }, gradientAccumulationSteps: 3, schedule: "cosine", weightDecay: 0.01 }],
];

const optionsOf = (changes: Partial<TrainerOptions>) => ({
  model,
  train: examples,
  learningRate: 0.02,
  epochs,
  ...changes,
});

async function uninterrupted(changes: Partial<TrainerOptions>): Promise<Map<string, Float32Array>> {
  using adapter = RedAdapter.create(model);
  for await (const _ of new Trainer({ ...optionsOf(changes), adapter }).run());
  return adapter.vectors();
}

/** Runs until it is stopped `delay` ms after a step. @returns steps made in all, or undefined where it reached its end */
async function stoppedAfter(trainer: Trainer, step: number, delay: number): Promise<number | undefined> {
  const controller = new AbortController();
  let made = 0;
  try {
    for await (const event of trainer.run({ resume: "auto", signal: controller.signal })) {
      if (event.type !== "step") continue;
      made = event.step;
      if (event.step >= step) setTimeout(() => controller.abort(), delay);
    }
    return undefined;
  } catch (error) {
    expect((error as RubricateError).code).toBe("ERR_ABORTED");
    return made;
  }
}

describe.each(kinds)("a run that is %s", (_, changes) => {
  test("has the same bits with any number of threads", async () => {
    native().setThreads(1);
    const expected = await uninterrupted(changes);
    for (const threads of pools) {
      native().setThreads(threads);
      expect(await uninterrupted(changes)).toEqual(expected);
    }
  });

  test("stopped again and again, in steps and between, is the uninterrupted one", async () => {
    const expected = await uninterrupted(changes);
    for (const delay of delays) {
      const outputDir = join(root, `${delay}`);
      const stops: number[] = [];
      for (let done = false; !done; ) {
        using adapter = RedAdapter.create(model);
        const trainer = new Trainer({ ...optionsOf(changes), adapter, outputDir });
        const made = await stoppedAfter(trainer, (stops.at(-1) ?? 0) + 3, delay);
        if (made === undefined) {
          expect(adapter.vectors()).toEqual(expected);
          done = true;
        } else {
          stops.push(made);
          expect(readdirSync(outputDir)).toContain(`checkpoint-${made}`);
        }
      }
      expect(stops.length).toBeGreaterThan(1);
    }
  });
});

test("all weights, stopped and resumed by another model of the same folder, end with the same bits", async () => {
  const changes = { method: "full", adapter: undefined, batchSize: 8, learningRate: 1e-3, epochs: 2 } as const;
  async function weightsOf(own: LanguageModel): Promise<Float32Array[]> {
    const { promise } = own.native.makeTrainable();
    const parameters = await promise;
    return parameters.names.map((_, index) => parameters.value(index));
  }
  using straight = await loadFixture("gqa");
  for await (const _ of new Trainer({ ...optionsOf(changes), model: straight }).run());
  using first = await loadFixture("gqa");
  const stop = await stoppedAfter(new Trainer({ ...optionsOf(changes), model: first, outputDir: root }), 4, 0);
  expect(stop).toBeGreaterThanOrEqual(4);
  using second = await loadFixture("gqa");
  const resumed = new Trainer({ ...optionsOf(changes), model: second, outputDir: root });
  for await (const event of resumed.run({ resume: true }))
    if (event.type === "start") expect(event.resumedStep).toBe(stop);
  expect(await weightsOf(second)).toEqual(await weightsOf(straight));
});

test.each(["gqa", "gqa_bf16"])(
  "all weights of %s, ever worse at last, end as the best, in the folder too",
  async (name) => {
    const worsening = { method: "full", learningRate: 0.02, schedule: "constant", batchSize: 8, epochs: 4 } as const;
    const filesOf = (folder: string) =>
      new Map(readdirSync(folder).map((file) => [file, readFileSync(join(folder, file)).toString("base64")]));
    /** Trains a model of its own and saves it. */
    async function trained(folder: string, changes: Partial<TrainerOptions>) {
      using own = await loadFixture(name);
      const evaluations: EvalEvent[] = [];
      for await (const event of new Trainer({
        ...optionsOf({ ...worsening, ...changes }),
        model: own,
        eval: 0.2,
      }).run())
        if (event.type === "eval") evaluations.push(event);
      await own.savePretrained(join(root, folder));
      return evaluations;
    }
    const evaluations = await trained("model", { outputDir: join(root, "run") });
    const best = evaluations.reduce((a, b) => (b.loss < a.loss ? b : a));
    expect(best).not.toBe(evaluations.at(-1));
    await trained("short", { maxSteps: best.step, keepBest: false });
    expect(filesOf(join(root, "model"))).toEqual(filesOf(join(root, "short")));
    expect(filesOf(join(root, "run", "best"))).toEqual(filesOf(join(root, "model")));
    await trained("last", { keepBest: false });
    expect(filesOf(join(root, "last"))).not.toEqual(filesOf(join(root, "model")));
  },
);

test("a loss that is not finite stops the run and changes nothing", async () => {
  using adapter = RedAdapter.create(model);
  const vectors = new Map([...adapter.vectors()].map(([name, values]) => [name, values.map(() => 3e38)]));
  adapter.setVectors(vectors);
  const run = async () => {
    for await (const _ of new Trainer({ ...optionsOf({}), adapter }).run());
  };
  await expect(run()).rejects.toMatchObject({ code: "ERR_NOT_FINITE" });
  expect(adapter.vectors()).toEqual(vectors);
});

test.each([{ learningRate: 3e38 }, { learningRate: 1e20, weightDecay: 3e18, weightDecayTarget: "zero" as const }])(
  "steps of %j leave the adapter as it was before",
  async (options) => {
    using adapter = RedAdapter.create(model);
    const run = async () => {
      const settings = { ...optionsOf({}), schedule: "constant" as const, ...options };
      for await (const _ of new Trainer({ ...settings, adapter }).run());
    };
    await expect(run()).rejects.toMatchObject({
      code: "ERR_NOT_FINITE",
      message: expect.stringMatching(/nothing was updated/),
    });
    for (const values of adapter.vectors().values()) expect(values.every(Number.isFinite)).toBe(true);
    await adapter.savePretrained(root);
    (await RedAdapter.fromPretrained(root, model)).dispose();
  },
);

test("a data worker that ends leaves the last finished step", async () => {
  using own = await LanguageModel.fromPretrained(embeddedModelDir());
  const rows = Array.from({ length: 12 }, (_, at) => ({ prompt: `Once ${at}`, completion: ` upon a time ${at}` }));
  const trained = async (outputDir: string, resume: boolean, onStep: (step: number, data: Dataset) => unknown) => {
    using adapter = RedAdapter.create(own);
    await using data = await Dataset.fromRows(rows, { tokenizer: own.requireTokenizer(), maxLength: 64 });
    const trainer = new Trainer({ model: own, adapter, train: data, epochs: 2, batchSize: 2, outputDir, resume });
    for await (const event of trainer.run()) if (event.type === "step") await onStep(event.step, data);
    return adapter.vectors();
  };
  const broken = trained(join(root, "a"), false, (step, data) => step === 5 && data.dispose());
  await expect(broken).rejects.toMatchObject({
    message: expect.stringMatching(/the last finished step, [56], is in .*checkpoint-[56]: /),
  });
  const resumed = await trained(join(root, "a"), true, () => {});
  expect(resumed).toEqual(await trained(join(root, "b"), false, () => {}));
});

test("all weights that a step would take out of range stay as they were, and can be saved", async () => {
  using own = await loadFixture("gqa");
  const run = async (changes: Partial<TrainerOptions>) => {
    const settings = { ...optionsOf({}), schedule: "constant" as const, maxSteps: 2, outputDir: root, ...changes };
    for await (const _ of new Trainer({ ...settings, model: own, adapter: undefined, method: "full" }).run());
  };
  await expect(run({ learningRate: 3e38 })).rejects.toMatchObject({
    code: "ERR_NOT_FINITE",
    message: expect.stringMatching(/The step would make .* infinite or NaN; nothing was updated/),
  });
  await own.savePretrained(join(root, "model"));
  using again = await LanguageModel.fromPretrained(join(root, "model"));
  const [before, after] = [model, again].map((one) => one.logits(Int32Array.of(3, 1, 4)));
  expect(await after).toEqual(await before);
});
