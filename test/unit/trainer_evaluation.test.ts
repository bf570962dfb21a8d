/** The evaluations of a Trainer's run: when they come, which parameters they keep, and when they end the run. */
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { RedAdapter } from "../../lib/adapter/red_adapter";
import { evaluate } from "../../lib/train/evaluate";
import { temporaryFolder } from "./failing_files";
import { fakeModel, hooks } from "./fake_native";
import { abortInJob, newTrainer, outcomeOf, someExamples, timeless } from "./training_support";

jest.mock("../../lib/native", () => require("./fake_native"));

const model = fakeModel();
let root: string;
beforeEach(() => {
  root = temporaryFolder();
  hooks.onJob = undefined;
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

describe("evaluation", () => {
  test("comes after each epoch and after so many steps, once each", async () => {
    const { trainer } = newTrainer(model, { eval: someExamples(5, 20), evalEverySteps: 4 });
    const { events } = await outcomeOf(trainer);
    const evals = events.filter(({ type }) => type === "eval") as { step: number; loss: number; best: boolean }[];
    expect(evals.map(({ step }) => step)).toEqual([4, 5, 8, 10]);
    let lowest = Number.POSITIVE_INFINITY;
    for (const { loss, best } of evals) {
      expect(best).toBe(loss < lowest);
      lowest = Math.min(lowest, loss);
    }
    const { tokens } = evals[0] as never as { tokens: number };
    expect(tokens).toBe(
      someExamples(5, 20).reduce((sum, { supervised }) => sum + supervised.reduce((a, b) => a + b), 0),
    );
  });

  test("with a fraction splits off examples by the seed", async () => {
    const { events } = await outcomeOf(newTrainer(model, { eval: 0.3 }).trainer);
    expect(events[0]).toMatchObject({ trainRows: 9, evalRows: 4 });
  });

  /** The learning rate is so large that the loss finally rises. */
  const worsening = { eval: someExamples(5, 20), learningRate: 1.5, schedule: "constant" as const, epochs: 12 };

  test("leaves the best parameters, in the folder too", async () => {
    const { trainer, adapter } = newTrainer(model, { ...worsening, outputDir: root });
    const { events, summary } = await outcomeOf(trainer);
    const evals = events.filter(({ type }) => type === "eval") as { step: number; loss: number }[];
    const best = evals.reduce((a, b) => (b.loss < a.loss ? b : a));
    expect(best).not.toBe(evals.at(-1));
    expect(summary!.evalLoss).toBe(best.loss);
    const saved = await RedAdapter.fromPretrained(join(root, "best"), model);
    expect(saved.vectors()).toEqual(adapter.vectors());
    const short = newTrainer(model, { ...worsening, maxSteps: best.step, epochs: undefined, keepBest: false });
    await outcomeOf(short.trainer);
    expect(short.adapter.vectors()).toEqual(adapter.vectors());
  });

  test("without keepBest leaves the last ones", async () => {
    const { trainer } = newTrainer(model, { ...worsening, keepBest: false });
    const { events, summary } = await outcomeOf(trainer);
    expect(summary!.evalLoss).toBe((events.filter(({ type }) => type === "eval").at(-1) as { loss: number }).loss);
  });

  test("before the first step gives the base line, and changes nothing else", async () => {
    // At this rate each step makes the loss worse than the base line, which is not kept as the best.
    const options = { eval: someExamples(5, 20), learningRate: 1.5, evalEverySteps: 1, earlyStopping: { patience: 3 } };
    const without = newTrainer(model, options);
    const before = await evaluate(model, options.eval, { adapter: without.adapter, batchSize: 3 });
    const expected = await outcomeOf(without.trainer);
    const { trainer, adapter } = newTrainer(model, { ...options, evalOnStart: true });
    const { events, summary } = await outcomeOf(trainer);
    expect(events[1]).toEqual({ type: "eval", step: 0, ...before, best: false });
    expect(timeless(events.toSpliced(1, 1))).toEqual(timeless(expected.events));
    expect(summary!.reason).toBe(expected.summary!.reason);
    expect(adapter.vectors()).toEqual(without.adapter.vectors());
  });

  test("before the first step is not repeated by a resumed run, and stays in its log", async () => {
    const options = { eval: someExamples(5, 20), evalOnStart: true, outputDir: root, checkpointEverySteps: 1 };
    await outcomeOf(newTrainer(model, options).trainer, { signal: abortInJob(2, "step") });
    hooks.onJob = undefined;
    const { events } = await outcomeOf(newTrainer(model, { ...options, resume: true }).trainer);
    expect(events.filter((event) => event.type === "eval" && event.step === 0)).toEqual([]);
    const log = readFileSync(join(root, "log.jsonl"), "utf8");
    expect(log.match(/"type":"eval","step":0/g)).toHaveLength(1);
  });

  test("stops a run that does not get better", async () => {
    const { events, summary } = await outcomeOf(
      newTrainer(model, { ...worsening, earlyStopping: { patience: 2 } }).trainer,
    );
    const losses = (events.filter(({ type }) => type === "eval") as { loss: number }[]).map(({ loss }) => loss);
    expect(summary!.reason).toBe("early-stopping");
    const lowest = Math.min(...losses.slice(0, -2));
    expect(losses.slice(-2).every((loss) => loss >= lowest)).toBe(true);
    expect(losses.length).toBeLessThan(12);
    const impatient = await outcomeOf(
      newTrainer(model, { ...worsening, earlyStopping: { patience: 1, minDelta: 1e9 } }).trainer,
    );
    expect(impatient.events.filter(({ type }) => type === "eval")).toHaveLength(2);
  });
});
