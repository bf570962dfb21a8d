/** bench/bases: the initial models are read by the package, and the unigram model is the one that it says. */
import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { LanguageModel } from "../../lib/model/model";

const root = join(__dirname, "../..");

/** Runs a module's text in the checkout. @returns what it printed, as JSON */
async function printed(text: string): Promise<unknown> {
  const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", text], { cwd: root });
  return JSON.parse(stdout);
}

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "rubricate-bases-test-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

test.each([
  ["llama", 2 * 32 * 128 + 4 * (2 * 128 * 128 + 2 * 64 * 128 + 3 * 384 * 128 + 2 * 128) + 128],
  ["gpt2", (32 + 256) * 128 + 4 * (12 * 128 * 128 + 13 * 128) + 256],
])(
  "the initial %s has the parameters of its shape, and the same seed gives the same weights",
  async (family, count) => {
    const made = async (name: string, seed: number) => {
      const path = join(folder, `${family}-${name}`);
      const call = `writeInitialModel("${family}", 32, ${seed}, ${JSON.stringify(path)})`;
      expect(await printed(`import { writeInitialModel } from "./bench/bases/initial.mjs"; console.log(${call})`)).toBe(
        count,
      );
      const model = await LanguageModel.fromPretrained(path);
      const { weights } = await model.fingerprint();
      expect(model.parameterCount).toBe(count);
      model.dispose();
      return weights;
    };
    const one = await made("one", 1);
    expect(await made("again", 1)).toBe(one);
    expect(await made("other", 2)).not.toBe(one);
  },
);

test("the unigram loss is that of the training counts, one added to each", async () => {
  const call = "unigramLoss([[0, 0, 1], [0]], [[0, 1], [3]], 4)"; // counts 4, 2, 1, 1 of 8
  const result = await printed(
    `import { unigramLoss } from "./bench/bases/unigram.mjs"; console.log(JSON.stringify(${call}))`,
  );
  expect(result).toEqual({ loss: expect.closeTo((Math.log(2) + Math.log(4) + Math.log(8)) / 3, 12), tokens: 3 });
});
