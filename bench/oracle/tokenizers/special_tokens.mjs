/**
 * Compares what this package makes of declared special tokens with what `special_tokens.py` wrote.
 *
 *     node bench/oracle/tokenizers/special_tokens.mjs OUT.json
 *
 * It prints each difference. Folders that this package refuses and transformers takes are counted apart.
 */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";

const { Tokenizer } = createRequire(import.meta.url)("../../../dist/index.js");
const base = path.join(fileURLToPath(import.meta.url), "../../../../test/parity/fixtures/tokenizer/llama");
const document = JSON.parse(readFileSync(path.join(base, "tokenizer.json"), "utf8"));
const { texts, cases } = JSON.parse(readFileSync(process.argv[2], "utf8"));
const text = (value) => (value === null ? undefined : JSON.stringify(value));

function ours({ added, config, map, beside }) {
  try {
    const tokenizer = new Tokenizer({
      directory: "x",
      tokenizerJson: text({ ...document, added_tokens: added }),
      tokenizerConfig: text(config),
      specialTokensMap: text(map),
      addedTokens: text(beside),
    });
    const ids = texts.map((one) => [...tokenizer.encode(one, { addSpecialTokens: false })]);
    const skipped = ids.map((one) => tokenizer.decode(one, { skipSpecialTokens: true }));
    return { ids, skipped, eos: tokenizer.eosTokenId ?? null, bos: tokenizer.bosTokenId ?? null };
  } catch (error) {
    return { error: error.message };
  }
}

let refused = 0;
let different = 0;
for (const { files, expected } of cases) {
  const { size, ...wanted } = expected;
  const got = ours(files);
  if (JSON.stringify(got) === JSON.stringify(wanted) || ("error" in got && "error" in wanted)) continue;
  const { added, config, map, beside } = files;
  console.log(`\n${JSON.stringify({ added: added.slice(3), config, map, beside })}`);
  console.log(`  ours         ${JSON.stringify(got)}\n  transformers ${JSON.stringify(wanted)}`);
  if ("error" in got) refused++;
  else different++;
}
console.log(`${cases.length} cases, ${different} differ, ${refused} refused here alone`);
process.exitCode = different + refused > 0 ? 1 : 0;
