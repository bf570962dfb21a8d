import { type GenerationPiece, LanguageModel, RedAdapter, RubricateError, type TrainEvent, Trainer } from "rubricate";

export async function train(dir: string): Promise<number> {
  using model = await LanguageModel.fromPretrained(dir, { signal: AbortSignal.timeout(10_000) });
  const adapter: RedAdapter = RedAdapter.create(model, { variant: "all", layers: [0] });
  const train = [{ tokenIds: Int32Array.of(1, 2), supervised: new Uint8Array(2), line: 1 }];
  const trainer = new Trainer({ model, adapter, train, maxSteps: 1 });
  for await (const event of trainer.run() satisfies AsyncIterable<TrainEvent>) {
    if (event.type === "step") return event.loss;
  }
  for await (const piece of model.generate({ prompt: "", adapter })) {
    const { tokenId }: GenerationPiece = piece;
    if (tokenId === 0) throw new RubricateError("ERR_ARGUMENT", "");
  }
  // @ts-expect-error: no such variant
  RedAdapter.create(model, { variant: "some" });
  return 0;
}
