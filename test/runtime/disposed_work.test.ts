/** `dispose()` of a model ends its work under way with ERR_DISPOSED, wherever that is; what a signal stopped before, with ERR_ABORTED. */
import { evaluate, type LanguageModel, MultiTrainer, RedAdapter, Trainer } from "../../lib/index";
import { loadModel } from "../unit/engine_support";

const rows = [0, 1, 2, 3].map((line) => ({
  tokenIds: Int32Array.from({ length: 24 }, (_, at) => 5 + ((7 * at + line) % 500)),
  supervised: new Uint8Array(24).fill(1),
  line: line + 1,
}));
const disposed = { name: "RubricateError", code: "ERR_DISPOSED" };
const many = { train: rows, maxSteps: 1e6, batchSize: 2 };

/** Errors that calls reject with, in order. */
const failures = (calls: readonly Promise<unknown>[]) =>
  Promise.all(calls.map((call) => call.then(() => undefined).catch((error) => error)));

test("calls that wait and that run", async () => {
  const model = await loadModel();
  const ids = new Array(200).fill(7);
  const calls = [model.logits(ids), model.logits(ids), model.fingerprint(), evaluate(model, rows)];
  model.dispose();
  for (const error of await failures(calls)) expect(error).toMatchObject(disposed);
});

test("a call whose signal fired first was aborted", async () => {
  const model = await loadModel();
  const ending = new AbortController();
  const calls = [1, 2].map(() => evaluate(model, rows, { signal: ending.signal }));
  ending.abort();
  model.dispose();
  for (const error of await failures(calls)) expect(error).toMatchObject({ code: "ERR_ABORTED" });
});

/** Disposes of the model when this run has made its second step. */
async function disposeAtStep(events: AsyncIterable<{ type: string }>, model: LanguageModel): Promise<never> {
  let steps = 0;
  for await (const event of events) if (event.type === "step" && ++steps === 2) model.dispose();
  throw new Error("The run ended");
}

test("a Trainer's run", async () => {
  const model = await loadModel();
  const trainer = new Trainer({ model, adapter: RedAdapter.create(model), ...many });
  await expect(disposeAtStep(trainer.run(), model)).rejects.toMatchObject(disposed);
});

test.each([0, 1, 3])("all runs of a MultiTrainer, disposed of at a step of run %d", async (first) => {
  const model = await loadModel();
  const multi = new MultiTrainer({ model });
  const runs = [0, 1, 2, 3].map((at) => multi.add(`run ${at}`, { ...many, adapter: RedAdapter.create(model) }));
  const ends = runs.map((run, at) =>
    at === first
      ? disposeAtStep(run as AsyncIterable<{ type: string }>, model)
      : (async () => {
          for await (const _ of run);
        })(),
  );
  for (const error of await failures(ends)) expect(error).toMatchObject(disposed);
  for (const error of await failures(runs.map(({ done }) => done))) expect(error).toMatchObject(disposed);
  await multi.close();
});
