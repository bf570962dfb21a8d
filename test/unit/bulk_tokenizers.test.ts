/** Tokenizers of the bulk comparison (bench/oracle/tokenizers), with what transformers does with them. */
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { Tokenizer } from "../../lib/tokenizer/tokenizer";

const folder = path.join(__dirname, "..", "parity", "fixtures", "bulk_tokenizers");

interface Fixture {
  tokenizer: object;
  config: object;
  encoded: { text: string; ids: number[]; bare: number[]; decoded: [all: string, withoutSpecial: string] }[];
  decoded: { ids: number[]; decoded: [all: string, withoutSpecial: string] }[];
}

describe.each(readdirSync(folder))("%s as transformers has it", (name) => {
  const {
    tokenizer: document,
    config,
    encoded,
    decoded,
  } = JSON.parse(readFileSync(path.join(folder, name), "utf8")) as Fixture;
  const tokenizer = new Tokenizer({
    directory: name,
    tokenizerJson: JSON.stringify(document),
    tokenizerConfig: JSON.stringify(config),
  });
  const cases = [...encoded, ...decoded];

  test("ids of texts", () => {
    for (const { text, ids, bare } of encoded) {
      expect({ text, ids: [...tokenizer.encode(text)] }).toEqual({ text, ids });
      expect([...tokenizer.encode(text, { addSpecialTokens: false })]).toEqual(bare);
      expect([...tokenizer.encodeStart(text, 3)]).toEqual(bare.slice(0, 3));
    }
  });

  test.each([false, true])("texts of ids, whole and streamed, skipping special tokens: %s", (skipSpecialTokens) => {
    const decoder = tokenizer.createDecoder({ skipSpecialTokens });
    for (const { ids, decoded: texts } of cases) {
      const text = texts[skipSpecialTokens ? 1 : 0];
      expect({ ids, text: tokenizer.decode(ids, { skipSpecialTokens }) }).toEqual({ ids, text });
      expect(ids.map((id) => decoder.push(id)).join("") + decoder.end()).toBe(text);
    }
  });

  test.each([false, true])("what follows a prompt is the rest of the whole text, skipping: %s", (skipSpecialTokens) => {
    let compared = 0;
    for (const { ids, decoded: texts } of cases) {
      const text = texts[skipSpecialTokens ? 1 : 0];
      for (let cut = 1; cut < ids.length; cut += 3) {
        const before = tokenizer.decode(ids.slice(0, cut), { skipSpecialTokens });
        if (before.endsWith("\uFFFD") || !text.startsWith(before)) continue;
        const decoder = tokenizer.createDecoder({ skipSpecialTokens, after: ids.slice(0, cut) });
        const answer = ids.slice(cut).map((id) => decoder.push(id));
        expect({ ids, cut, answer: answer.join("") + decoder.end() }).toEqual({
          ids,
          cut,
          answer: text.slice(before.length),
        });
        compared++;
      }
    }
    expect(compared).toBeGreaterThan(200);
  });
});
