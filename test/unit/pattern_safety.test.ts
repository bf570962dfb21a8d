/** Patterns of tokenizer.json: which are known to be linear, and what becomes of the others. */
import { linearForm, linear as linearOf } from "../../lib/tokenizer/pattern_safety";
import { Tokenizer } from "../../lib/tokenizer/tokenizer";

const isLinear = (source: string) => linearOf(linearForm(source)) !== undefined;
const llama3 =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const upper = "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]";
const lower = "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]";
const ending = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?";
const rest = "\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

const linear: [string, string][] = [
  ["GPT-2", "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"],
  ["LLaMA 3", llama3],
  ["Qwen", llama3.replace("{1,3}", "")],
  ["o200k", `[^\\r\\n\\p{L}\\p{N}]?${upper}*${lower}+${ending}|[^\\r\\n\\p{L}\\p{N}]?${upper}+${lower}*${ending}|${rest}`],
  ["Tekken", `[^\\r\\n\\p{L}\\p{N}]?${upper}*${lower}+|[^\\r\\n\\p{L}\\p{N}]?${upper}+${lower}*|${rest}`],
  ["DeepSeek", "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"],
  ["DeepSeek's Chinese", "[一-龥぀-ゟ゠-ヿ]+"],
  ["digits", "\\p{N}{1,3}"],
  ["three digits from the right", "(?=(?:\\d{3})(?!\\d))"],
  ["BLOOM", " ?[^(\\s|[.,!?…。，、।۔،])]+"],
  ["runs", " {2,}|[0-9][0-9][0-9]"],
  ["DeepSeek with newlines as they are", "[^\r\n\\p{L}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"],
  ["DeepSeek Coder's end", "\\s+$"],
  ["nanochat", "[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}{1,2}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+"],
  ["cl100k", "[^\\r\\n\\p{L}\\p{N}]?+\\p{L}++|\\p{N}{1,3}+| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*+|\\s++$|\\s*[\\r\\n]|\\s+(?!\\S)|\\s"],
  ["a last possessive part", "a++"],
  ["bounded runs", "\\t{1,4}| {1,8}|\\s{1,8}"],
  ["words with an ending", "[A-Za-z]+(?:'[a-z]+)?"],
  ["repeated lines", "(?:\\r?\\n)+"],
]; // biome-ignore format: one line a case
test.each(linear)("%s is linear", (_, source) => {
  expect(isLinear(source)).toBe(true);
  // And it is: the time for the worst texts grows with their length.
  const pattern = new RegExp(
    linearForm(source)
      .replaceAll("(?i:", "(?:")
      .replaceAll("++", "+")
      .replaceAll("?+", "?")
      .replaceAll("*+", "*")
      .replace("{1,3}+", "+")
      .replace("[^(\\s|[.,!?…。，、।۔،])]", "[^()|\\s.,!?…。，、।۔،]"),
    "gu",
  );
  for (const text of [" ", "A", "a", "ー", "1", "'", "\n", " \n", "!", "\u0301", "Aa"]) {
    const started = performance.now();
    for (const _match of text.repeat(200_000).matchAll(pattern));
    expect(performance.now() - started).toBeLessThan(2000); // the square would take minutes
  }
});

test.each([
  "(a|aa)+$",
  "(.*)*(.*)*x",
  "a+b",
  "a|\\s+$",
  "\\s+$|a",
  "\\s++$|a",
  "\\s++a",
  "[^a]++a*b",
  "[^a]++b",
  "(?:[^\\s]++)\\s",
  "a?+a",
  "(?:a{1,2}){2,}",
  "(?:a?)+",
  "(?=a*)a",
  "(?!a*)b",
  "(?:a+)?b",
  "(?:a+b)?",
  "\\s*[\\r\\n]+",
  "\\s*[\\r\\n]+|\\s|\\s+",
  "(a+)+",
  "(?:a*)*",
  "a*a*b",
  "a+?",
  "(?=a*b)a",
  "(?<=a*)b",
  "(?:a?){30}a{30}",
  "(?:a|b){20}c",
  "(?:a+){2}",
  "\\1",
  "(?<n>a)\\k<n>",
  "[[a]&&b]+c",
  "a{100,}b",
  "(?>a+)b",
  "\\X+",
  "(",
  "[",
  "a{2}{3}",
  "*",
  "\\",
  "(?x) a",
])("%s is not known to be linear", (source) => {
  // biome-ignore format: one line
  expect(isLinear(source)).toBe(false);
});

test.each([
  ["pre_tokenizer", { type: "Split", pattern: { Regex: "(a|aa)+$" }, behavior: "Isolated", invert: false }],
  ["normalizer", { type: "Replace", pattern: { Regex: "(a|aa)+$" }, content: "" }],
  ["decoder", { type: "Replace", pattern: { Regex: "(a|aa)+$" }, content: "" }],
])("%s with a pattern that backtracks is refused", (part, component) => {
  const model = { type: "BPE", vocab: { a: 0 }, merges: [] };
  const tokenizerJson = JSON.stringify({ model, [part]: component });
  expect(() => new Tokenizer({ directory: "/folder", tokenizerJson })).toThrow(
    expect.objectContaining({
      code: "ERR_TOKENIZER",
      message: expect.stringMatching(`for ${part}\\.pattern in .* but received "\\(a\\|aa\\)\\+\\$"`),
    }),
  );
});
