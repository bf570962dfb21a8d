import { readFileSync } from "node:fs";
import path from "node:path";
import { CleanUp, cleanedUp } from "../../lib/tokenizer/clean_up";
import { TokenDecoder } from "../../lib/tokenizer/token_decoder";
import { Tokenizer } from "../../lib/tokenizer/tokenizer";

const fixtures = path.join(__dirname, "..", "parity", "fixtures", "tokenizer");
const tokenizers = new Map<string, Tokenizer>();
beforeAll(async () => {
  for (const name of ["byte_level", "llama"])
    tokenizers.set(name, await Tokenizer.fromPretrained(path.join(fixtures, name)));
});

/** The ids of single bytes. */
function byteIds(tokenizer: Tokenizer, bytes: readonly number[]): number[] {
  const { model } = JSON.parse(readFileSync(path.join(tokenizer.files.directory, "tokenizer.json"), "utf8"));
  const printable = (byte: number) => (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
  const others = Array.from({ length: 256 }, (_, byte) => byte).filter((byte) => !printable(byte));
  const spelled = (byte: number) => String.fromCharCode(printable(byte) ? byte : 256 + others.indexOf(byte));
  return bytes.map((byte) => model.vocab[spelled(byte)]);
}

test.each<[string, number[], string[]]>([
  ["a character of four bytes comes with its last", [0xf0, 0x9f, 0x98, 0x80, 0x61], ["", "", "", "😀", "a"]],
  ["a character that is never completed comes when that is certain", [0xe2, 0x82, 0x61], ["", "", "\uFFFDa"]],
  ["each bad byte waits for one token", [0xff, 0xff, 0xff, 0x61], ["", "\uFFFD", "\uFFFD", "\uFFFDa"]],
  ["a lead byte again and again", [0xe2, 0xe2, 0xe2, 0x82, 0xac], ["", "\uFFFD", "\uFFFD", "", "€"]],
])("%s", (_, bytes, pieces) => {
  const tokenizer = tokenizers.get("byte_level")!;
  const decoder = tokenizer.createDecoder();
  expect(byteIds(tokenizer, bytes).map((id) => decoder.push(id))).toEqual(pieces);
  expect(decoder.end()).toBe("");
});

test("tokens that all end in U+FFFD are decoded a few at a time, and none waits long", () => {
  const tokenizer = tokenizers.get("byte_level")!;
  const [id] = byteIds(tokenizer, [0xe2]);
  let longest = 0;
  const decoder = new TokenDecoder({
    decode: (ids) => {
      longest = Math.max(longest, ids.length);
      return tokenizer.decode(ids);
    },
    skips: () => false,
    isByte: () => false,
  });
  let text = "";
  for (let count = 1; count <= 500; count++) {
    text += decoder.push(id!);
    expect(text.length).toBe(count - 1);
  }
  expect(text + decoder.end()).toBe("\uFFFD".repeat(500));
  expect(longest).toBeLessThan(12);
});

const answer = (tokenizer: Tokenizer, after: readonly number[], ids: readonly number[], skipSpecialTokens = true) => {
  const decoder = tokenizer.createDecoder({ after, skipSpecialTokens });
  const text = () => ids.map((id) => decoder.push(id)).join("") + decoder.end();
  const first = text();
  expect(text()).toBe(first); // it stands after the same ids again
  return first;
};

test("what follows a prompt keeps the space at its beginning", () => {
  const llama = tokenizers.get("llama")!;
  const bare = (text: string) => [...llama.encode(text, { addSpecialTokens: false })];
  expect(answer(llama, bare("The user"), bare("asks a"))).toBe(" asks a");
  expect(answer(llama, [], bare("asks a"))).toBe("asks a");
  expect(answer(llama, [llama.bosTokenId!], bare("asks a"))).toBe("asks a");
  expect(answer(llama, [llama.bosTokenId!], bare("asks a"), false)).toBe(" asks a");
  expect(answer(llama, bare("The user ".repeat(2000)), bare("asks a"))).toBe(" asks a");
});

test("a character that the prompt begins and the answer ends is the answer's", () => {
  const byteLevel = tokenizers.get("byte_level")!;
  const ids = byteIds(byteLevel, [0x61, 0xe2, 0x82, 0xac, 0x62]);
  expect(answer(byteLevel, ids.slice(0, 3), ids.slice(3))).toBe("€b");
  expect(answer(byteLevel, ids.slice(0, 2), ids.slice(2))).toBe("€b");
  expect(answer(byteLevel, byteIds(byteLevel, [0x61, 0xff]), byteIds(byteLevel, [0x62]))).toBe("b");
  const llama = tokenizers.get("llama")!;
  const bytes = [...Buffer.from("€")].map((byte) => byte + 3);
  expect(llama.tokenText(bytes[0]!)).toBe("<0xE2>");
  expect(answer(llama, bytes.slice(0, 2), bytes.slice(2))).toBe("€");
});

test("special tokens are shown where that is asked for", () => {
  const llama = tokenizers.get("llama")!;
  const ids = [...llama.encode("a</s> b", { addSpecialTokens: false })];
  expect(answer(llama, [1], ids)).toBe("a b");
  expect(answer(llama, [1], ids, false)).toBe(" a</s> b");
});

test("the ids before are checked", () => {
  const byteLevel = tokenizers.get("byte_level")!;
  expect(() => byteLevel.createDecoder({ after: [1.5] })).toThrow(
    "Expected an integer from 0 to 4294967295 for after[0] but received 1.5",
  );
  expect(() => byteLevel.createDecoder({ after: 5 as never })).toThrow(/for after but received 5/);
});

const replace = (text: string, content: string) => ({ type: "Replace", pattern: { String: text }, content });
const strip = (start: number, stop: number) => ({ type: "Strip", content: " ", start, stop });
test.each<[string, object[] | null]>([
  ["none", null],
  ["one that strips three spaces", [replace("▁", " "), { type: "Fuse" }, strip(3, 0)]],
  ["one that strips at the end", [replace("▁", " "), { type: "Fuse" }, strip(1, 2)]],
  ["one that strips each token", [replace("▁", " "), strip(1, 0)]],
  ["one that leaves a token out", [replace("a", ""), { type: "Fuse" }]],
  ["one that replaces in the whole text", [{ type: "Fuse" }, replace("ab", "c")]],
])("a stream is what the whole is with any decoder: %s", (_, decoders) => {
  const model = { type: "BPE", vocab: { a: 0, b: 1, "▁": 2, "▁a": 3 }, merges: [] };
  const decoder = decoders && { type: "Sequence", decoders };
  const tokenizerJson = JSON.stringify({ version: "1.0", added_tokens: [], decoder, model });
  const tokenizer = new Tokenizer({ directory: "folder", tokenizerJson });
  for (let number = 0; number < 4 ** 6; number++) {
    const ids = Array.from({ length: 6 }, (_, at) => (number >> (2 * at)) & 3);
    const whole = tokenizer.decode(ids);
    const stream = tokenizer.createDecoder();
    expect({ ids, text: ids.map((id) => stream.push(id)).join("") + stream.end() }).toEqual({ ids, text: whole });
  }
});

test("spaces are cleaned up as transformers does it", () => {
  const text = "a , b . c ! d ? e ' f do n't I 'm x 's y 've z 're w ;  .";
  expect(cleanedUp(text)).toBe("a, b. c! d? e'f don't I'm x's y've z're w ; .");
});

test("text that comes in pieces is cleaned up as the whole is", () => {
  let state = 1;
  const random = (below: number) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  const parts = [" ", " ", "  ", "'", "n", "n't", "t", "'m", "m", "s", "ve", "'re", ".", ",", "?", "!", "v", "word"];
  for (let round = 0; round < 4000; round++) {
    const cleanUp = new CleanUp();
    const pieces = Array.from({ length: 1 + random(12) }, () => parts[random(parts.length)]!);
    const text = pieces.join("");
    expect({ text, cleaned: pieces.map((piece) => cleanUp.push(piece)).join("") + cleanUp.end() }).toEqual({
      text,
      cleaned: cleanedUp(text),
    });
  }
});

test("cleaning up holds little back", () => {
  const cleanUp = new CleanUp();
  expect(cleanUp.push("some words ")).toBe("some words");
  expect(cleanUp.push(".")).toBe("");
  expect(cleanUp.push(" And")).toBe(".");
});

test("ids that the vocabulary lacks have no text, and those that the Rust library cannot take are refused", () => {
  const tokenizer = tokenizers.get("byte_level")!;
  expect([tokenizer.decode([1e9]), tokenizer.decode([2 ** 32 - 1])]).toEqual(["", ""]);
  for (const id of [-1, 2 ** 32, 1.5, Number.NaN])
    expect(() => tokenizer.decode([0, id])).toThrow(
      expect.objectContaining({
        code: "ERR_ARGUMENT",
        message: `Expected an integer from 0 to 4294967295 for ids[1] but received ${id}`,
      }),
    );
});

test.each(["tokenizerConfig", "specialTokensMap", "addedTokens", "generationConfig", "modelConfig", "chatTemplate"])(
  "%s: null is a file that is missing",
  (name) => {
    const { directory, tokenizerJson } = tokenizers.get("byte_level")!.files;
    const without = new Tokenizer({ directory, tokenizerJson });
    const given = new Tokenizer({ directory, tokenizerJson, [name]: null } as never);
    expect(given.parts.hash).toBe(without.parts.hash);
    expect(given.chatTemplate).toBe(without.chatTemplate);
  },
);
