/** An engine answers with what a MultiTrainer publishes while it trains. */
import { type LanguageModel, MultiTrainer, RedAdapter } from "../../lib/index";
import { loadModel, withEngine } from "../unit/engine_support";

let model: LanguageModel;
beforeAll(async () => {
  model = await loadModel();
});
afterAll(() => model?.dispose());

const examples = Array.from({ length: 8 }, (_, at) => ({
  tokenIds: Int32Array.from({ length: 12 }, (_, i) => 300 + ((at + i * 7) % 40)),
  supervised: new Uint8Array(12).fill(1),
  line: at + 1,
}));
const request = { tokenIds: [1, 310, 317], maxNewTokens: 6 };

test("requests go on beside training, and are answered with the versions that runs publish", async () => {
  await withEngine({ model }, async (engine) => {
    const base = await engine.complete(request);
    const trainer = new MultiTrainer({ model });
    const adapters = ["a", "b"].map(() => RedAdapter.create(model));
    const runs = adapters.map((adapter, at) =>
      trainer.add(`run ${at}`, {
        adapter,
        train: examples,
        epochs: 3,
        batchSize: 4,
        learningRate: 0.05 * (at + 1),
        publish: { engine, name: `adapter-${at}`, when: { everySteps: 2 } },
      }),
    );
    for await (const event of runs[0]!)
      if (event.type === "step") expect((await engine.complete(request)).tokenIds).toEqual(base.tokenIds);
    await Promise.all(runs.map((run) => run.done));
    for (const [at, adapter] of adapters.entries()) {
      const name = `adapter-${at}`;
      expect(engine.adapters.get(name)).toMatchObject({ version: 3, versions: [1, 2, 3] });
      const answer = await engine.complete({ ...request, adapter: name });
      expect(answer.adapter).toEqual({ name, version: 3 });
      expect(answer.tokenIds).toEqual((await engine.complete({ ...request, adapter })).tokenIds);
      expect(answer.tokenIds).not.toEqual(base.tokenIds);
    }
  });
});
