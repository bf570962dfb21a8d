/**
 * One side of `concurrent.mjs`: each "step" on stdin is eight generations with eight adapters, at once or one after another.
 * It uses the public API only, so that it can load an older build.
 *
 *     node side.mjs DIST MODEL at-once|in-turn TOKENS
 */
import { createRequire } from "node:module";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { watchMemory } from "../js/process_memory.mjs";

const [dist, folder, how, tokens] = process.argv.slice(2);
const { LlamaModel, LanguageModel = LlamaModel, RedAdapter } = createRequire(import.meta.url)(join(dist, "index.js")); // older builds: LlamaModel
const clients = 8;

const say = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
const model = await LanguageModel.fromPretrained(folder, { device: "cpu" });
const adapters = Array.from({ length: clients }, (_, client) => {
  const adapter = RedAdapter.create(model);
  const changed = [...adapter.vectors()].map(([name, values]) => [
    name,
    values.map((value, at) => value + (((7 * at + 13 * client) % 11) - 5) * 0.01),
  ]);
  adapter.setVectors(new Map(changed));
  return adapter;
});

async function generate(client) {
  const tokenIds = Array.from({ length: 16 }, (_, at) => 3 + ((7919 * at + 104729 * client) % 30000));
  const ids = [];
  for await (const { tokenId } of model.generate({ tokenIds, adapter: adapters[client], maxNewTokens: Number(tokens) }))
    ids.push(tokenId);
  return ids;
}

async function step() {
  const all = Array.from({ length: clients }, (_, client) => client);
  const started = performance.now();
  const ids = [];
  if (how === "at-once") ids.push(...(await Promise.all(all.map(generate))));
  else for (const client of all) ids.push(await generate(client));
  const seconds = (performance.now() - started) / 1e3;
  return { seconds, tokensPerSecond: ids.flat().length / seconds, ids: ids.map((one) => one.join()).join(";") };
}

await step();
const memory = watchMemory();
say({ ready: true });
for await (const line of createInterface({ input: process.stdin })) {
  if (line !== "step") break;
  say(await step());
}
say({ peakBytes: memory.stop().residentPeak });
process.exit(0);
