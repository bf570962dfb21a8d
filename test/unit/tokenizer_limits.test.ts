/** Limits of tokenizer.json that depend on its text: at the limit, and one past it. */
import { limits } from "../../lib/limits";
import { Tokenizer } from "../../lib/tokenizer/tokenizer";

const ofText = (tokenizerJson: string) => () => new Tokenizer({ directory: "/folder", tokenizerJson });

const model = '"model":{"type":"BPE","vocab":{"a":0},"merges":[]}';
const withAdded = (id: number) => ofText(`{"added_tokens":[{"id":${id},"content":"<x>"}],${model}}`)();

test("tokenId", () => {
  const most = limits.tokenId;
  // The largest id needs as many tokens before it as no test has: it is refused for that alone.
  expect(() => withAdded(most)).toThrow(expect.objectContaining({ code: "ERR_TOKENIZER" }));
  expect(() => withAdded(most)).not.toThrow(`from 0 to ${most}`);
  expect(() => withAdded(most + 1)).toThrow(`an integer from 0 to ${most}`);
});

test("tokenizerPartsBytes", () => {
  const parts = (bytes: number) => ofText(`{"padding":{"x":"${"x".repeat(bytes - 8)}"},${model}}`);
  expect([...parts(limits.tokenizerPartsBytes)().encode("a")]).toEqual([0]);
  expect(parts(limits.tokenizerPartsBytes + 1)).toThrow(/without its tokens and merges/);
});

test("tokenizerEntryBytes", () => {
  const start = '"a":0,"b":1,';
  const last = '"c":2';
  const before = 8 << 10;
  const vocabulary = (bytes: number) =>
    ofText(`{"model":{"type":"BPE","vocab":{${start}${last.padStart(bytes - start.length)}},"merges":[]}}`);
  const most = before + limits.tokenizerEntryBytes;
  expect([...vocabulary(most)().encode("c")]).toEqual([2]);
  expect(vocabulary(most + 1)).toThrow(new RegExp(`entries of at most ${limits.tokenizerEntryBytes} bytes`));
});
