/** Behaviors of a Split, as the Rust library's documentation shows them, and groups of digits against the plain expression. */
import { digitGrouper } from "../../lib/tokenizer/digit_groups";
import { preTokenizerOf } from "../../lib/tokenizer/pre_tokens";

/** Pieces that a Split of hyphens hands on. */
function piecesOf(behavior: string, invert: boolean): string[] {
  const pieces: string[] = [];
  const config = { type: "Split", pattern: { String: "-" }, behavior, invert };
  preTokenizerOf(config, (piece) => pieces.push(piece) > 0).split(text, 0);
  return pieces;
}

const text = "The-final--countdown";
test.each<[string, boolean, string[]]>([
  ["Isolated", false, ["The", "-", "final", "-", "-", "countdown"]],
  ["Isolated", true, ["The", "-", "final", "-", "-", "countdown"]],
  ["Removed", true, ["-", "-", "-"]],
  ["MergedWithPrevious", false, ["The-", "final-", "-", "countdown"]],
  ["MergedWithNext", false, ["The", "-final", "-", "-countdown"]],
  ["Contiguous", false, ["The", "-", "final", "--", "countdown"]],
  ["Removed", false, ["The", "final", "countdown"]],
  ["MergedWithPrevious", true, ["The", "-final", "-", "-countdown"]],
  ["MergedWithNext", true, ["The-", "final-", "-", "countdown"]],
  ["Contiguous", true, ["The", "-", "final", "--", "countdown"]],
])("%s, inverted %s", (behavior, invert, pieces) => {
  expect(piecesOf(behavior, invert)).toEqual(pieces);
});

/** What matches and what is between, as the Rust library isolates it. */
function isolated(source: string, input: string): string[] {
  const word = "[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\u00B2\\u00B3\\u00B9\\u00BC-\\u00BE]";
  const pattern = new RegExp(
    source
      .replaceAll("\\d", "\\p{Nd}")
      .replace("\\b", `(?:(?<=${word})(?!${word})|(?<!${word})(?=${word}))`)
      .replace("$", "(?:(?=\\n)|(?![^]))"),
    "gu",
  );
  const pieces: string[] = [];
  let start = 0;
  for (const { index, 0: match } of input.matchAll(pattern)) {
    pieces.push(input.slice(start, index), match);
    start = index + match.length;
  }
  return [...pieces, input.slice(start)].filter((piece) => piece !== "");
}

const groupings = [
  "\\d{1,3}(?=(?:\\d{3})*\\b)",
  "\\p{N}{1,3}(?=(?:\\p{N}{3})*(?:\\P{N}|$))",
  "(?=(\\d{3})+(?!\\d))",
  "(?=(?:\\p{N}{3})+(?!\\p{N}))",
  "(?=([0-9]{3})+(?![0-9]))",
];
const zeros = ["", "1", "12", "123", "1234", "12345", "123456", "1234567"];
const around = ["", "a", " ", ".", "½", "٣", "\n", "_", "\u{1d7ce}", "²", "é"];

test.each(groupings)("%s divides as the expression does", (source) => {
  const divide = digitGrouper(source)!;
  for (const before of around)
    for (const digits of zeros)
      for (const after of around)
        for (const input of [`${before}${digits}${after}`, `${digits}${after}${digits}${before}${digits}`])
          expect([input, divide(input)]).toEqual([input, isolated(source, input)]);
});

test.each(groupings)("%s goes through a number once", (source) => {
  const started = process.cpuUsage();
  expect(digitGrouper(source)!("1".repeat(3 << 18))).toHaveLength(1 << 18);
  const { user, system } = process.cpuUsage(started);
  expect((user + system) / 1000).toBeLessThan(2000); // the square would take minutes
});

test.each(["\\d{1,4}(?=(?:\\d{3})*\\b)", "(?=(\\d{3})+(?!a))", "(?=(\\d{3})+(?!\\p{N}))", "(?=(\\w{3})+(?!\\w))"])(
  "%s is none of them",
  (source) => expect(digitGrouper(source)).toBeUndefined(),
);
