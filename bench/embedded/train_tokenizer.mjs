/**
 * Trains the embedded model's tokenizer: byte-level BPE (Sennrich et al. 2016, over bytes as in GPT-2).
 *
 *     node bench/embedded/train_tokenizer.mjs CORPUS_FOLDER MODEL_FOLDER [VOCABULARY]
 *
 * Reads CORPUS_FOLDER/train.json, writes MODEL_FOLDER/tokenizer.json, tokenizer_config.json and special_tokens_map.json.
 * Ids: special tokens, then the 256 bytes (so that any text can be encoded), then one id per merge. Deterministic: the
 * most frequent pair is merged first, and among equally frequent pairs the one with the smaller ids.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export const specialTokens = ["<s>", "</s>", "<|pad|>", "<|system|>", "<|user|>", "<|assistant|>"];
const pattern = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/**
 * Every turn ends with </s>; the assistant's is inside the generation span, so that it is supervised, and is the one
 * token that ends generation. A prompt alone is <s><|user|>...</s><|assistant|>.
 */
const chatTemplate = [
  "{{ bos_token }}",
  "{% for message in messages %}",
  "{% if message['role'] == 'assistant' %}",
  "{{ '<|assistant|>' }}{% generation %}{{ message['content'] + eos_token }}{% endgeneration %}",
  "{% elif message['role'] == 'system' %}{{ '<|system|>' + message['content'] + eos_token }}",
  "{% else %}{{ '<|user|>' + message['content'] + eos_token }}",
  "{% endif %}",
  "{% endfor %}",
  "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}",
].join("");

/** The printable character that stands for each byte in vocabulary entries, [256]: GPT-2's bytes_to_unicode. */
function byteCharacters() {
  const printable = (b) => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
  let next = 256;
  return Array.from({ length: 256 }, (_, b) => String.fromCharCode(printable(b) ? b : next++));
}

/** @returns {{bytes: number[], count: number}[]} the distinct pre-tokens of all texts, in order of first appearance */
function countWords(texts) {
  const counts = new Map();
  const regex = new RegExp(pattern, "gu");
  for (const text of texts) for (const [word] of text.matchAll(regex)) counts.set(word, (counts.get(word) ?? 0) + 1);
  return [...counts].map(([word, count]) => ({ bytes: [...Buffer.from(word)], count }));
}

/** Pair counts that follow the merges, with the words each pair occurs in. */
class PairTable {
  #counts = new Map();
  #words = new Map();

  add(word, index, sign) {
    for (let i = 0; i + 1 < word.symbols.length; i++) {
      const key = word.symbols[i] * 65536 + word.symbols[i + 1];
      this.#counts.set(key, (this.#counts.get(key) ?? 0) + sign * word.count);
      if (sign > 0) {
        if (!this.#words.has(key)) this.#words.set(key, new Set());
        this.#words.get(key).add(index);
      }
    }
  }

  /** @returns {{key: number, count: number}} */
  best() {
    let key = -1;
    let count = 0;
    for (const [k, c] of this.#counts) if (c > count || (c === count && k < key)) [key, count] = [k, c];
    return { key, count };
  }

  wordsWith(key) {
    return this.#words.get(key) ?? [];
  }
}

/** @returns {[number, number][]} pairs in order of merging; byte b is symbol b, merge i makes symbol 256 + i */
function learnMerges(words, wanted) {
  const table = new PairTable();
  const entries = words.map(({ bytes, count }) => ({ symbols: bytes, count }));
  for (const [i, entry] of entries.entries()) table.add(entry, i, 1);
  const merges = [];
  while (merges.length < wanted) {
    const { key, count } = table.best();
    if (count < 2) break;
    const [left, right] = [Math.floor(key / 65536), key % 65536];
    const symbol = 256 + merges.length;
    merges.push([left, right]);
    for (const index of [...table.wordsWith(key)]) {
      const entry = entries[index];
      table.add(entry, index, -1);
      const merged = [];
      for (let i = 0; i < entry.symbols.length; i++) {
        const here = entry.symbols[i] === left && entry.symbols[i + 1] === right;
        merged.push(here ? symbol : entry.symbols[i]);
        if (here) i++;
      }
      entry.symbols = merged;
      table.add(entry, index, 1);
    }
  }
  return merges;
}

/** Hugging Face's tokenizer.json of a byte-level BPE with these merges. */
function tokenizerJson(merges) {
  const bytes = byteCharacters();
  const symbols = [...bytes];
  for (const [left, right] of merges) symbols.push(symbols[left] + symbols[right]);
  const vocab = Object.fromEntries([...specialTokens, ...symbols].map((token, id) => [token, id]));
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false };
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: specialTokens.map((content, id) => ({
      id,
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
    normalizer: null,
    pre_tokenizer: {
      type: "Sequence",
      pretokenizers: [{ type: "Split", pattern: { Regex: pattern }, behavior: "Isolated", invert: false }, byteLevel],
    },
    post_processor: {
      type: "TemplateProcessing",
      single: [{ SpecialToken: { id: "<s>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
      pair: [
        { SpecialToken: { id: "<s>", type_id: 0 } },
        { Sequence: { id: "A", type_id: 0 } },
        { Sequence: { id: "B", type_id: 1 } },
      ],
      special_tokens: { "<s>": { id: "<s>", ids: [0], tokens: ["<s>"] } },
    },
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab,
      merges: merges.map(([left, right]) => [symbols[left], symbols[right]]),
    },
  };
}

const special = { bos_token: "<s>", eos_token: "</s>", pad_token: "<|pad|>" };

if (process.argv[1] === import.meta.filename) {
  const [corpus, model, vocabulary = "2048"] = process.argv.slice(2);
  if (!model) {
    console.error("usage: node bench/embedded/train_tokenizer.mjs CORPUS_FOLDER MODEL_FOLDER [VOCABULARY]");
    process.exit(2);
  }
  const texts = JSON.parse(readFileSync(join(corpus, "train.json"), "utf8")).map(({ text }) => text);
  const words = countWords(texts);
  const merges = learnMerges(words, Number(vocabulary) - 256 - specialTokens.length);
  mkdirSync(model, { recursive: true });
  writeFileSync(join(model, "tokenizer.json"), `${JSON.stringify(tokenizerJson(merges), null, 1)}\n`);
  const config = {
    tokenizer_class: "PreTrainedTokenizerFast",
    ...special,
    model_max_length: 512,
    clean_up_tokenization_spaces: false,
    chat_template: chatTemplate,
  };
  writeFileSync(join(model, "tokenizer_config.json"), `${JSON.stringify(config, null, 2)}\n`);
  writeFileSync(join(model, "special_tokens_map.json"), `${JSON.stringify(special, null, 2)}\n`);
  console.log(
    `${words.length} distinct pre-tokens, ${merges.length} merges, ${256 + specialTokens.length + merges.length} ids`,
  );
}
