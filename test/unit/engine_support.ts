/** A model and adapters for tests of the engine. */
import {
  Engine,
  type EngineOptions,
  embeddedModelDir,
  type GenerationPiece,
  LanguageModel,
  RedAdapter,
} from "../../lib/index";

/** The embedded model without end tokens: an answer has as many tokens as its request wants. */
export async function loadModel(): Promise<LanguageModel> {
  const model = await LanguageModel.fromPretrained(embeddedModelDir(), { device: "cpu" });
  return Object.defineProperty(model, "eosTokenIds", { value: [] });
}

/** The id of a generator's next token. */
export async function nextId(pieces: AsyncGenerator<GenerationPiece, unknown, void>): Promise<number> {
  return ((await pieces.next()).value as GenerationPiece).tokenId;
}

/** An adapter whose answers differ from those of another number. */
export function adapterOf(model: LanguageModel, number: number): RedAdapter {
  const adapter = RedAdapter.create(model);
  const changed = [...adapter.vectors()].map(([name, values]): [string, Float32Array] => [
    name,
    values.map((value, at) => value + (((at * 7 + number * 13) % 11) - 5) * 0.04),
  ]);
  adapter.setVectors(new Map(changed));
  return adapter;
}

/** Does something with an engine, and closes it. */
export async function withEngine<T>(options: EngineOptions, work: (engine: Engine) => Promise<T>): Promise<T> {
  const engine = new Engine(options);
  try {
    return await work(engine);
  } finally {
    await engine.close();
  }
}

/** What a call rejects with; undefined if it does not. */
export const failed = (call: () => unknown): Promise<{ code?: string; message?: string } | undefined> =>
  (async () => call())().then(
    () => undefined,
    (error) => error,
  );

/** Waits for what an event will bring, without a time. */
export async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setImmediate(resolve));
}
