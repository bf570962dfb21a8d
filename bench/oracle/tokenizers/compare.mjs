/**
 * Compares this package's tokenizers with what `make.py` wrote: ids of texts, texts of ids, streamed texts, and prompts with
 * completions cut at every place of a text.
 *
 *     node bench/oracle/tokenizers/compare.mjs FOLDER [NAME...]
 *
 * It prints each difference, and counts the places where the ids of a prompt and its completion are not those of the whole
 * text: those where a token of the whole spans the place, and those where the tokens before the place depend on what follows.
 */
import { readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

const { Tokenizer, Dataset } = createRequire(import.meta.url)("../../../dist/index.js");
const { endOf, prefixed } = createRequire(import.meta.url)("../../../dist/tokenizer/sequence.js");
const [folder, ...wanted] = process.argv.slice(2);
const shown = 8;

/** Prints the first differences of a kind. */
class Report {
  counts = new Map();
  constructor(name) {
    this.name = name;
  }
  check(kind, input, ours, theirs) {
    const [a, b] = [JSON.stringify(ours), JSON.stringify(theirs)];
    if (a === b) return;
    const count = (this.counts.get(kind) ?? 0) + 1;
    this.counts.set(kind, count);
    if (count <= shown)
      console.log(`${this.name}: ${kind} of ${JSON.stringify(input)}\n  ours         ${a}\n  transformers ${b}`);
  }
}

function streamed(tokenizer, ids, options) {
  const decoder = tokenizer.createDecoder(options);
  return ids.map((id) => decoder.push(id)).join("") + decoder.end();
}

/** What stands behind the longest beginning that both have, but for a character that the prompt only begins. */
function behind(whole, before) {
  let at = 0;
  while (at < before.length && whole[at] === before[at]) at++;
  return whole.slice(at);
}

function compareTexts(tokenizer, { encoded, decoded, eos, bos }, report) {
  report.check("eos", "", tokenizer.eosTokenId ?? null, eos);
  report.check("bos", "", tokenizer.bosTokenId ?? null, bos);
  for (const { text, ids, bare } of encoded) {
    report.check("ids", text, [...tokenizer.encode(text)], ids);
    report.check("bare ids", text, [...tokenizer.encode(text, { addSpecialTokens: false })], bare);
  }
  for (const { ids, decoded: texts } of [...encoded, ...decoded])
    for (const [at, skipSpecialTokens] of [false, true].entries()) {
      report.check(
        `text, skipping ${skipSpecialTokens},`,
        ids,
        tokenizer.decode(ids, { skipSpecialTokens }),
        texts[at],
      );
      report.check(
        `stream, skipping ${skipSpecialTokens},`,
        ids,
        streamed(tokenizer, ids, { skipSpecialTokens }),
        texts[at],
      );
      for (const cut of [1, 2, 5, ids.length - 3]) {
        if (cut < 1 || cut >= ids.length) continue;
        const after = ids.slice(0, cut);
        const answer = streamed(tokenizer, ids.slice(cut), { skipSpecialTokens, after });
        const before = tokenizer.decode(after, { skipSpecialTokens });
        if (before.endsWith("\uFFFD")) continue; // the answer may complete a character
        if (!texts[at].startsWith(before)) continue; // counted by the text above where it is clean-up
        report.check(`answer, skipping ${skipSpecialTokens}, after ${cut},`, ids, answer, behind(texts[at], before));
      }
    }
}

async function compareJoints(tokenizer, { cut }, report, counts) {
  const rows = [];
  const wantedIds = [];
  for (const { text, ids, offsets } of cut)
    for (let at = 1; at < text.length; at++) {
      if (/[\uD800-\uDBFF]/.test(text[at - 1])) continue;
      rows.push({ prompt: text.slice(0, at), completion: text.slice(at) });
      const between = offsets.every(([start, end]) => end <= at || start >= at);
      wantedIds.push({ ids, between });
    }
  const data = await Dataset.fromRows(rows, { tokenizer, maxLength: 4096 });
  report.check("rows", "all joints", data.length, rows.length);
  for (let start = 0; start < rows.length; start += 1024) {
    const indices = rows.slice(start, start + 1024).map((_, at) => start + at);
    for (const [at, example] of (await data.examples(indices)).entries()) {
      const { ids, between } = wantedIds[start + at];
      const { prompt, completion } = rows[start + at];
      const whole = prefixed(tokenizer, Int32Array.from(ids));
      const expected = [...whole, ...endOf(tokenizer, whole)];
      const found = [...example.tokenIds];
      const isWhole = JSON.stringify(found) === JSON.stringify(expected);
      counts.all++;
      if (isWhole) counts.whole++;
      else if (between) {
        const alone = [...tokenizer.encode(prompt, { addSpecialTokens: false })];
        if (alone.every((id, place) => id === ids[place]))
          report.check("ids of", [prompt, completion], found, expected);
        else {
          counts.dependent++;
          counts.dependents.push([prompt, completion]);
        }
      } else counts.spanned++;
      const own = [...prefixed(tokenizer, tokenizer.encode(prompt, { addSpecialTokens: false }))];
      report.check("prompt of", [prompt, completion], [...example.tokenIds.slice(0, own.length)], own);
      report.check("mask of", [prompt, completion], example.supervised.indexOf(1), Math.max(1, own.length));
      const [shown, wanted] = [found, expected].map((one) => tokenizer.decode(one));
      if (shown !== wanted) counts.otherText.push([prompt, completion, shown, wanted]);
    }
  }
  await data.dispose();
}

const total = { all: 0, whole: 0, spanned: 0, dependent: 0 };
let differences = 0;
for (const name of readdirSync(folder).sort()) {
  if (wanted.length > 0 && !wanted.includes(name)) continue;
  const report = new Report(name);
  const counts = { all: 0, whole: 0, spanned: 0, dependent: 0, dependents: [], otherText: [] };
  try {
    const tokenizer = await Tokenizer.fromPretrained(path.join(folder, name));
    const expected = JSON.parse(readFileSync(path.join(folder, name, "expected.json"), "utf8"));
    compareTexts(tokenizer, expected, report);
    await compareJoints(tokenizer, expected, report, counts);
  } catch (error) {
    report.check("loading", error.message, error.stack, "loads");
  }
  for (const key of Object.keys(total)) total[key] += counts[key];
  const found = [...report.counts].map(([kind, count]) => `${count} ${kind}`);
  differences += [...report.counts.values()].reduce((sum, count) => sum + count, 0);
  const { all, whole, spanned, dependent, otherText } = counts;
  console.log(
    `${name}: ${all} joints: ${whole} as the whole, ${spanned} within a token, ${dependent} where the prompt alone has other tokens`,
  );
  for (const one of counts.dependents.slice(0, 4)) console.log("  the prompt alone:", JSON.stringify(one));
  for (const one of otherText.slice(0, 2)) console.log("  another text:", JSON.stringify(one));
  if (otherText.length > 0) console.log(`  ${otherText.length} of these decode to another text`);
  console.log(found.length > 0 ? `${name}: DIFFERENCES ${found.join(", ")}` : `${name}: no difference`);
}
console.log(JSON.stringify({ differences, ...total }));
process.exitCode = differences === 0 ? 0 : 1;
