/** Ids of added tokens where tokenizer.json and tokenizer_config.json differ: those of transformers, or an error. */
import { cpSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Tokenizer } from "../../lib/index";
import { temporaryFolder } from "./failing_files";

let root: string;
beforeEach(() => {
  root = temporaryFolder();
});
afterEach(() => rmSync(root, { recursive: true, force: true }));
const fixture = join(__dirname, "..", "parity", "fixtures", "tokenizer", "llama");
const at = (...names: string[]) => join(root, ...names);

const token = (id: number, content: string, more = {}) => ({ id, content, normalized: false, ...more });
const fast = "PreTrainedTokenizerFast";
const llama = "LlamaTokenizer";
const plain = [1, 338, 337, 312, 312, 312, 352];
/** Ids of "a zzz b" by AutoTokenizer of transformers 5.18. The vocabulary has the ids 0 to 699, 300 that of "n". */
test.each<[what: string, name: string, declared: Record<string, object> | undefined, added: object[], ids: number[]]>([
  ["an id of the vocabulary", fast, { 5: { content: "zzz" } }, [], [1, 338, 700, 352]],
  ["an id of an added token", fast, { 2: { content: "zzz" } }, [], [1, 338, 700, 352]],
  ["another id than the vocabulary's", fast, { 5: { content: "n" } }, [], plain],
  ["another id than that of an added token", fast, { 709: { content: "</s>" } }, [], plain],
  ["the next id", fast, { 700: { content: "zzz" } }, [], [1, 338, 700, 352]],
  ["an id past a gap", fast, { 705: { content: "zzz" } }, [], [1, 338, 700, 352]],
  ["two ids past gaps", fast, { 709: { content: "zzz" }, 705: { content: " b" } }, [], [1, 338, 701, 352]],
  ["one taken id and the next", fast, { 5: { content: "zzz" }, 700: { content: " b" } }, [], [1, 338, 700, 352]],
  ["the id of a token that was added", fast, { 700: { content: "zzz" } }, [token(700, "yyy")], [1, 338, 701, 352]],
  ["less than all added tokens", fast, { 701: { content: "zzz" } }, [token(700, "yyy")], [1, 338, 701, 352]],
  ["other flags", fast, { 709: { content: "zzz" } }, [token(700, "zzz")], [1, 338, 700, 352]],
  [
    "no token",
    fast,
    undefined,
    [token(700, "yyy"), token(701, "zzz", { special: true })],
    [1, 338, 337, 701, 337, 352],
  ],
  ["an id of the vocabulary", llama, { 5: { content: "zzz" } }, [], [1, 338, 337, 700, 352]],
  ["an id past a gap", llama, { 705: { content: "zzz" } }, [], [1, 338, 337, 700, 352]],
  ["two ids past gaps", llama, { 709: { content: "zzz" }, 705: { content: " b" } }, [], [1, 338, 337, 701, 700]],
  [
    "all tokens",
    llama,
    { 701: { content: "zzz" }, 700: { content: "yyy" } },
    [token(700, "yyy")],
    [1, 338, 337, 701, 352],
  ],
  ["no token, in another order", llama, undefined, [token(701, "zzz"), token(700, "yyy")], [1, 338, 337, 701, 352]],
])("tokenizer_config.json declares %s: %s", async (_, name, declared, added, ids) => {
  const tokenizer = await Tokenizer.fromPretrained(declaring(name, declared, added));
  expect([...tokenizer.encode("a zzz b")]).toEqual(ids);
});

/** transformers would give other ids, or leave tokens out. */
test.each<[what: string, name: string, declared: Record<string, object> | undefined, added: object[], says: RegExp]>([
  ["a gap in tokenizer.json", fast, undefined, [token(704, "zzz")], /Expected 700, .* "zzz" .* received 704/],
  ["a gap in tokenizer.json", llama, undefined, [token(704, "zzz")], /Expected 700, .* "zzz" .* received 704/],
  ["another order", fast, undefined, [token(701, "zzz"), token(700, "yyy")], /Expected 700, .* "zzz" .* received 701/],
  ["an id of two tokens", fast, undefined, [token(700, "yyy"), token(700, "zzz")], /Expected 701, .* "zzz"/],
  ["one token twice", fast, { 700: { content: "zzz" }, 701: { content: "zzz" } }, [], /Expected 700, .* received 701/],
  ["one id twice", fast, { 700: { content: "zzz" }, "0700": { content: "yyy" } }, [], /an id of its own .* 700/],
  ["a token that is not declared", llama, { 701: { content: "zzz" } }, [token(700, "yyy")], /Expected 700, .* "yyy"/],
  ["a token with another id", llama, { 705: { content: "zzz" } }, [token(700, "zzz")], /Expected 700, .* "zzz"/],
])("%s is refused: %s", async (_, name, declared, added, says) => {
  await expect(Tokenizer.fromPretrained(declaring(name, declared, added))).rejects.toMatchObject({
    code: "ERR_TOKENIZER",
    message: expect.stringMatching(says),
  });
});

/** A copy of a small tokenizer with these tokens. */
function declaring(name: string, declared: Record<string, object> | undefined, added: object[]): string {
  cpSync(fixture, at("t"), { recursive: true });
  const edit = (file: string, change: (document: { added_tokens: object[] }) => object) =>
    writeFileSync(at("t", file), JSON.stringify(change(JSON.parse(readFileSync(at("t", file), "utf8")))));
  edit("tokenizer.json", (document) => ({ ...document, added_tokens: [...document.added_tokens, ...added] }));
  edit("tokenizer_config.json", (document) => ({
    ...document,
    tokenizer_class: name,
    ...(declared && { added_tokens_decoder: declared }),
  }));
  return at("t");
}

/** A token that strips the spaces after it, one of spaces that strips on both sides, and two others. */
const spaces = [
  token(700, "<x>", { rstrip: true }),
  token(701, "\n", { lstrip: true, rstrip: true }),
  token(702, "\t"),
  token(703, "<y>", { lstrip: true }),
];
/** Ids by tokenizers 0.23. */
test.each([
  ["<x>\na", [700, 338]],
  ["<x> \na", [700, 338]],
  ["<x>\n\n", [700]],
  ["<x>\n \nb", [700, 352]],
  ["a\n\nb", [338, 701, 352]],
  ["\n\n\n", [701]],
  ["<x>\tb", [700, 702, 352]],
  ["<x> \t\n b", [700, 702, 701, 352]],
  ["<x>  \t <y>", [700, 702, 703]],
  ["<x>\n<y>", [700, 703]],
  ["a\n<y>", [338, 701, 703]],
])("tokens of spaces that others strip: %j", (text, ids) => {
  const document = JSON.parse(readFileSync(join(fixture, "tokenizer.json"), "utf8"));
  const added_tokens = [...document.added_tokens, ...spaces];
  const tokenizer = new Tokenizer({ directory: "here", tokenizerJson: JSON.stringify({ ...document, added_tokens }) });
  expect([...tokenizer.encode(text, { addSpecialTokens: false })]).toEqual(ids);
});

test("many of them", () => {
  const document = JSON.parse(readFileSync(join(fixture, "tokenizer.json"), "utf8"));
  const added_tokens = [...document.added_tokens, token(700, "\n", { rstrip: true })];
  const tokenizer = new Tokenizer({ directory: "here", tokenizerJson: JSON.stringify({ ...document, added_tokens }) });
  expect(tokenizer.encode("\n".repeat(1 << 20), { addSpecialTokens: false })).toHaveLength(1 << 20);
});
