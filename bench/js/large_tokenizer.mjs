/** A tokenizer.json as large as those of LLaMA 2 (32,000 tokens, 1.8 MB) or LLaMA 3 (128,256 tokens, 9 MB). */
import { writeFileSync } from "node:fs";

/** GPT-2's printable characters for the 256 bytes. */
function byteCharacters() {
  const printable = (byte) =>
    (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || (byte >= 174 && byte <= 255);
  let beyond = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(printable(byte) ? byte : beyond++));
}

/**
 * Writes a byte-level BPE tokenizer with random tokens, and for each token a merge of every two other tokens that form
 * it. @param path of the file
 * @param size tokens of the vocabulary, at least 256
 */
export function writeLargeTokenizer(path, size) {
  let state = 1;
  const below = (count) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * count);
  };
  const tokens = byteCharacters();
  const known = new Set(tokens);
  while (tokens.length < size) {
    const token = tokens[below(tokens.length)] + tokens[below(tokens.length)];
    if (token.length > 12 || known.has(token)) continue;
    known.add(token);
    tokens.push(token);
  }
  const merges = [];
  for (const token of tokens)
    for (let at = 1; at < token.length; at++)
      if (known.has(token.slice(0, at)) && known.has(token.slice(at)))
        merges.push([token.slice(0, at), token.slice(at)]);
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };
  const document = {
    version: "1.0",
    added_tokens: [],
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: null,
    decoder: byteLevel,
    model: { type: "BPE", vocab: Object.fromEntries(tokens.map((token, id) => [token, id])), merges },
  };
  writeFileSync(path, JSON.stringify(document, null, 2));
}
