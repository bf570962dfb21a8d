import { RedAdapter } from "../../lib/adapter/red_adapter";
import { embeddedModelDir } from "../../lib/embedded";
import { LlamaModel } from "../../lib/model/model";
import type { NativeDecoder, NativeModel } from "../../lib/native";
import { Trainer } from "../../lib/train/trainer";

// Waiting is counted in tokens of other clients, not in time, so that a busy machine does not matter.

const CLIENTS = 8;
const TOKENS = 40;
const prompts = Array.from({ length: CLIENTS }, (_, client) =>
  "Once upon a time there was a girl. ".repeat(1 + client),
);

let model: LlamaModel;
beforeAll(async () => {
  model = await LlamaModel.fromPretrained(embeddedModelDir(), { device: "cpu" });
});
afterAll(() => model.dispose());

/** The generated ids of a prompt; calls back for each one. */
async function idsAfter(prompt: string, onToken: () => void = () => {}): Promise<number[]> {
  const ids = [];
  for await (const { tokenId } of model.generate({ prompt, maxNewTokens: TOKENS })) {
    ids.push(tokenId);
    onToken();
  }
  return ids;
}

/** Runs all clients concurrently: their ids, and the order of the tokens by client. */
async function generateAtOnce() {
  const order: number[] = [];
  const ids = await Promise.all(prompts.map((prompt, client) => idsAfter(prompt, () => order.push(client))));
  return { order, ids };
}

/** The maximum number of other clients' tokens between two tokens of one client, or before its first. */
function longestWait(order: number[]): number {
  const last = new Array(CLIENTS).fill(-1);
  let longest = 0;
  order.forEach((client, at) => {
    longest = Math.max(longest, at - last[client] - 1);
    last[client] = at;
  });
  return longest;
}

test("concurrent generations take turns, and give the same ids as one at a time", async () => {
  const alone = [];
  for (const prompt of prompts) alone.push(await idsAfter(prompt));
  const { order, ids } = await generateAtOnce();
  expect(ids).toEqual(alone);
  expect(order.length).toBeGreaterThan(CLIENTS * 10);
  expect(longestWait(order)).toBeLessThanOrEqual(2 * CLIENTS);
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
  const { order } = await generateAtOnce();
  const stepsMeanwhile = steps;
  stop.abort();
  await expect(training).rejects.toMatchObject({ code: "ERR_ABORTED" });
  expect(longestWait(order)).toBeLessThanOrEqual(2 * CLIENTS);
  expect(stepsMeanwhile).toBeGreaterThan(0);
});

test("a long prompt is processed by several jobs, between which other jobs run, with the same result", async () => {
  const { native } = model as unknown as { native: NativeModel };
  const prompt = Int32Array.from({ length: 500 }, (_, i) => 5 + ((7 * i) % 400));
  const sampling = { temperature: 1, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1.2, seed: 3 };
  const whole = native.createDecoder();
  const request = { sequence: whole.addSequence(), tokenIds: prompt, adapter: null, sampling };
  const [expected] = await whole.step([request], 512).promise;
  whole.dispose();

  const fed: number[] = [];
  const createDecoder = () => {
    const decoder = Object.getPrototypeOf(native).createDecoder.call(native) as NativeDecoder;
    const step: NativeDecoder["step"] = (requests, chunk) => {
      fed.push(...requests.map(({ tokenIds }) => tokenIds.length));
      return Object.getPrototypeOf(decoder).step.call(decoder, requests, chunk);
    };
    return Object.defineProperty(decoder, "step", { value: step });
  };
  Object.defineProperty(native, "createDecoder", { value: createDecoder, configurable: true });
  try {
    const { value } = await model.generate({ ...sampling, tokenIds: prompt, maxNewTokens: 2 }).next();
    expect(value).toMatchObject({ tokenId: expected });
    expect(fed).toEqual([256, 244]);
  } finally {
    delete (native as Partial<NativeModel>).createDecoder;
  }
});
