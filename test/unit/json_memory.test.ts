/** The limit of memory for the objects, arrays and names of a JSON text: at the limit, and one byte past it. */
import { parseJson } from "../../lib/files/json";
import { checkShape } from "../../lib/files/json_shape";
import { limits } from "../../lib/limits";
import { atOnce } from "../../lib/steps";

/** Whether a text passes with a number of trailing spaces and not with one fewer: each byte of text allows more memory. */
const needs = (text: string, memory: number) => {
  const spaces = Math.ceil((memory - limits.jsonSpareBytes) / limits.jsonGrowth) - text.length;
  const check = (count: number) => () => atOnce(checkShape(Buffer.from(text + " ".repeat(count)), limits.lineValues));
  expect(spaces).toBeGreaterThan(0);
  expect(check(spaces)).not.toThrow();
  expect(check(spaces - 1)).toThrow(/its objects and the names in them need more than \d+ bytes of memory/);
};
const list = (count: number, element: (at: number) => string) =>
  `[${Array.from({ length: count }, (_, at) => element(at))}]`;

test("jsonGrowth and jsonSpareBytes: empty objects and arrays", () => {
  const count = 1 << 16;
  needs(
    list(count, () => "{}"),
    48 + count * 72 - 8,
  );
  needs(
    list(count, () => "[]"),
    48 + count * 56 - 8,
  );
});

test("the same: names in a new order cost memory, those that were there before do not", () => {
  const count = 1 << 14;
  needs(
    list(count, (at) => `{"k${at}":0}`),
    48 + count * (40 + 256) - 8,
  );
  const same = list(1 << 16, (at) => `{"role":"user","content":"${at}","${"long".repeat(9)}":{}}`);
  expect(() => atOnce(checkShape(Buffer.from(same), limits.lineValues))).not.toThrow();
  const dictionary = (members: number) => `{${Array.from({ length: members }, (_, at) => `"${at.toString(36)}":0`)}}`;
  needs(dictionary(40_000), 32 + 8 * 39_999 + 1020 * 256 + (40_000 - 1020) * 96);
});

test.each([
  [
    "an index of as many tensors as fit",
    `{"weight_map":{${Array.from({ length: 9000 }, (_, at) => `"model.layers.${at}.mlp.down_proj.weight":"model-00001-of-00002.safetensors"`)}}}`,
  ],
  [
    "labels of a classifier, twice",
    `{"id2label":{${Array.from({ length: 4000 }, (_, at) => `"${at}":"label ${at}"`)}},"label2id":{${Array.from({ length: 4000 }, (_, at) => `"label ${at}":${at}`)}}}`,
  ],
])("%s does not exceed the limit of memory", (_, text) => {
  expect(parseJson(text, "x.json")).toEqual(JSON.parse(text));
});
