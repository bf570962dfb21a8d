/**
 * Our side of versus_llamacpp.
 *
 *     node ours.mjs --model FOLDER --measure prefill|decode --sequences N --length N --count N
 */
import { native, rubricate } from "../js/package.mjs";
import { answer, prompt, workOptions } from "./work.mjs";

const { model: folder, measure, sequences, length, count } = workOptions();
const model = await rubricate.LlamaModel.fromPretrained(folder);
const vocabulary = model.vocabularySize;
const sampling = {
  temperature: 0,
  topK: 0,
  topP: 1,
  minP: 0,
  repetitionPenalty: 1,
  frequencyPenalty: 0,
  presencePenalty: 0,
  logitBias: null,
  seed: 0,
};
const since = (start) => (performance.now() - start) / 1e3;

/** One sequence, through the public API. Seconds count from the call, or from the first token. */
async function one(seed) {
  const ids = [];
  let start = performance.now();
  const options = { tokenIds: prompt(length, vocabulary, seed), maxNewTokens: measure === "prefill" ? 1 : count + 1 };
  for await (const { tokenId } of model.generate(options)) {
    ids.push(tokenId);
    if (measure === "decode" && ids.length === 1) start = performance.now();
  }
  return { seconds: since(start), ids };
}

/** Several sequences in one decoder, a step at a time. */
async function several(seed) {
  const decoder = model.native.createDecoder();
  const requests = Array.from({ length: sequences }, (_, i) => ({
    sequence: decoder.addSequence(),
    tokenIds: prompt(length, vocabulary, seed * sequences + i),
    adapter: null,
    sampling,
  }));
  const step = async () => {
    const next = await decoder.step(requests, 256).promise;
    for (const [i, request] of requests.entries()) request.tokenIds = next.subarray(i, i + 1);
    return next[0];
  };
  const ids = [await step()];
  const start = performance.now();
  for (let i = 0; i < count; i++) ids.push(await step());
  const seconds = since(start);
  decoder.dispose();
  return { seconds, ids };
}

const { path, threads } = native.cpu();
const all = await model.logits(prompt(length, vocabulary, 0));
const logits = [...all.subarray(all.length - vocabulary)];
await answer(
  { name: `rubricate ${native.version}`, path, threads, dtype: model.dtype, logits },
  sequences === 1 ? one : several,
);
