/** The tokenizer of llama2.c's small models (tokN.bin): stories260K comes with no other. */
import { readFileSync } from "node:fs";

/** Ids below are <unk>, <s> and </s>; then come the 256 bytes. */
const firstByte = 3;

/** @returns a function from text to ids, without <s> and </s>: characters, then merges by score, as llama2.c encodes */
export function llama2cEncoder(path) {
  const file = readFileSync(path);
  const ids = new Map();
  const scores = [];
  for (let at = 4; at < file.length; ) {
    const length = file.readInt32LE(at + 4);
    ids.set(file.toString("utf8", at + 8, at + 8 + length), scores.length);
    scores.push(file.readFloatLE(at));
    at += 8 + length;
  }
  return (text) => {
    const pieces = [" ", ...text].flatMap((character) => {
      if (ids.has(character)) return [{ text: character, id: ids.get(character) }];
      return [...Buffer.from(character)].map((byte) => ({ text: undefined, id: byte + firstByte }));
    });
    for (;;) {
      let best = { score: Number.NEGATIVE_INFINITY };
      for (let at = 0; at + 1 < pieces.length; at++) {
        const merged = `${pieces[at].text}${pieces[at + 1].text}`;
        const id = pieces[at].text !== undefined && pieces[at + 1].text !== undefined ? ids.get(merged) : undefined;
        if (id !== undefined && scores[id] > best.score) best = { score: scores[id], at, id, merged };
      }
      if (best.id === undefined) return pieces.map(({ id }) => id);
      pieces.splice(best.at, 2, { text: best.merged, id: best.id });
    }
  };
}
