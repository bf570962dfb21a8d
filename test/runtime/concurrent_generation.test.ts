import { RedAdapter } from "../../lib/adapter/red_adapter";
import { outputKinds } from "../../lib/binding/engine";
import { embeddedModelDir } from "../../lib/embedded";
import { LanguageModel } from "../../lib/model/model";
import { Trainer } from "../../lib/train/trainer";
import { spyOnEngine } from "../unit/engine_spy";

// Waiting is counted in tokens of other clients, not in time, so that a busy machine does not matter.

const CLIENTS = 8;
const TOKENS = 40;
const prompts = Array.from({ length: CLIENTS }, (_, client) =>
  "Once upon a time there was a girl. ".repeat(1 + client),
);

/** The request of each token that came. */
const tokensOf: number[] = [];
let model: LanguageModel;
beforeAll(async () => {
  model = await LanguageModel.fromPretrained(embeddedModelDir(), { device: "cpu" });
  spyOnEngine(model, (rows) => {
    for (const [request, kind] of rows) if (kind === outputKinds.token) tokensOf.push(request!);
  });
});
afterAll(() => model.dispose());

async function idsAfter(prompt: string): Promise<number[]> {
  return (await model.complete({ prompt, maxNewTokens: TOKENS })).tokenIds;
}

/** Runs all clients concurrently: their ids, and the requests whose tokens came, in order. */
async function generateAtOnce() {
  const ids = await Promise.all(prompts.map(idsAfter));
  return { order: tokensOf.splice(0), ids };
}

/** The maximum number of other requests' tokens between two tokens of one request. */
function longestWait(order: number[]): number {
  const last = new Map<number, number>();
  let longest = 0;
  for (const [at, request] of order.entries()) {
    longest = Math.max(longest, at - (last.get(request) ?? at) - 1);
    last.set(request, at);
  }
  return longest;
}

test("concurrent generations take turns, and give the same ids as one at a time", async () => {
  const alone = [];
  for (const prompt of prompts) alone.push(await idsAfter(prompt));
  tokensOf.length = 0;
  const { order, ids } = await generateAtOnce();
  expect(ids).toEqual(alone);
  expect(order.length).toBeGreaterThan(CLIENTS * 10);
  expect(longestWait(order)).toBeLessThanOrEqual(CLIENTS - 1);
});

test("concurrent generations take turns during training, which continues", async () => {
  const tokenIds = Int32Array.from(model.requireTokenizer().encode("The little girl went home and slept."));
  const supervised = new Uint8Array(tokenIds.length).fill(1);
  const train = [{ tokenIds, supervised, line: 1 }];
  const stop = new AbortController();
  let steps = 0;
  const training = (async () => {
    const trainer = new Trainer({ model, adapter: RedAdapter.create(model), train, maxSteps: 100_000 });
    for await (const event of trainer.run({ signal: stop.signal })) if (event.type === "step") steps++;
  })();
  // On a busy machine one round may be over before the training has begun.
  do {
    const { order } = await generateAtOnce();
    expect(longestWait(order)).toBeLessThanOrEqual(CLIENTS - 1);
  } while (steps === 0);
  stop.abort();
  await expect(training).rejects.toMatchObject({ code: "ERR_ABORTED" });
});
