/**
 * Our side of versus_llamacpp.
 *
 *     node ours.mjs --model FOLDER --measure prefill|decode --sequences N --length N --count N
 */
import { native, rubricate } from "../js/package.mjs";
import { answer, prompt, workOptions } from "./work.mjs";

const { model: folder, measure, sequences, length, count } = workOptions();
const model = await rubricate.LanguageModel.fromPretrained(folder);
const vocabulary = model.vocabularySize;
const since = (start) => (performance.now() - start) / 1e3;

/** Seconds to a prompt's first token. */
async function prefill(seed) {
  const start = performance.now();
  const { tokenIds } = await model.complete({ tokenIds: prompt(length, vocabulary, seed), maxNewTokens: 1 });
  return { seconds: since(start), tokens: length, ids: tokenIds };
}

/** Concurrent calls of `generate`. Seconds and tokens count from when each has its first token. */
async function decode(seed) {
  let begun = 0;
  let tokens = 0;
  let start = 0;
  const generated = async (i) => {
    const ids = [];
    const options = { tokenIds: prompt(length, vocabulary, seed * sequences + i), maxNewTokens: count + 1 };
    for await (const { tokenId } of model.generate(options)) {
      if (begun === sequences) tokens++;
      if (ids.push(tokenId) === 1 && ++begun === sequences) start = performance.now();
    }
    return ids;
  };
  const [ids] = await Promise.all(Array.from({ length: sequences }, (_, i) => generated(i)));
  return { seconds: since(start), tokens, ids };
}

const { path, threads } = native.cpu();
const all = await model.logits(prompt(length, vocabulary, 0));
const logits = [...all.subarray(all.length - vocabulary)];
await answer(
  { name: `rubricate ${native.version}`, path, threads, dtype: model.dtype, logits },
  measure === "prefill" ? prefill : decode,
);
