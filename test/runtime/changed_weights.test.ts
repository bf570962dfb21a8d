import {
  closeSync,
  cpSync,
  existsSync,
  mkdtempSync,
  openSync,
  renameSync,
  rmSync,
  truncateSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { RedAdapter } from "../../lib/adapter/red_adapter";
import { embeddedModelDir } from "../../lib/embedded";
import { LanguageModel } from "../../lib/model/model";
import { Trainer } from "../../lib/train/trainer";

// The file of a loaded model is mapped. A job that reads it after a change gets no valid weights: it ends with
// ERR_FILE, and no result that outlives it was computed from them.

const page = 4096;
let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "rubricate-"));
});
afterAll(() => rmSync(root, { recursive: true }));

const load = async () => {
  const folder = mkdtempSync(join(root, "model-"));
  cpSync(embeddedModelDir(), folder, { recursive: true });
  return {
    folder,
    file: join(folder, "model.safetensors"),
    model: await LanguageModel.fromPretrained(folder, { device: "cpu" }),
  };
};

const train = [0, 1].map((line) => {
  const tokenIds = Int32Array.from({ length: 24 }, (_, i) => 5 + ((7 * i + line) % 500));
  return { tokenIds, supervised: new Uint8Array(24).fill(1), line: line + 1 };
});

/** Trains for two steps. @returns their losses */
async function losses(options: { model: LanguageModel; adapter?: RedAdapter; method?: "full" }) {
  const found: number[] = [];
  for await (const event of new Trainer({ ...options, train, maxSteps: 2 }).run())
    if (event.type === "step") found.push(event.loss);
  return found;
}

const works: Record<string, (model: LanguageModel) => Promise<unknown>> = {
  "full fine-tuning": (model) => losses({ model, method: "full" }),
  "RED training": (model) => losses({ model, adapter: RedAdapter.create(model) }),
  logits: async (model) => (await model.logits([1, 2, 3])).slice(0, 8),
  generation: async (model) => {
    const ids: number[] = [];
    for await (const { tokenId } of model.generate({ tokenIds: [1, 400, 300], maxNewTokens: 4 })) ids.push(tokenId);
    return ids;
  },
  fingerprint: (model) => model.fingerprint(),
  saving: async (model) => {
    const folder = join(mkdtempSync(join(root, "saved-")), "model");
    await model.savePretrained(folder).catch((error) => {
      expect(existsSync(folder)).toBe(false);
      throw error;
    });
  },
};

const damages: Record<string, (file: string) => void> = {
  truncated: (file) => truncateSync(file, 100 * page + 17),
  "truncated at a page's end": (file) => truncateSync(file, 100 * page),
  "truncated to nothing": (file) => truncateSync(file, 0),
  overwritten: (file) => {
    const descriptor = openSync(file, "r+");
    writeSync(descriptor, Buffer.alloc(64 * page, 0x3f), 0, 64 * page, 200 * page);
    closeSync(descriptor);
  },
};

describe.each(Object.keys(damages))("a file that was %s after loading", (damage) => {
  test.each(Object.keys(works))("ends %s with ERR_FILE", async (name) => {
    const { file, model } = await load();
    if (name !== "fingerprint") await model.fingerprint(); // cached: otherwise this would fail
    damages[damage]!(file);
    for (let attempt = 0; attempt < 2; attempt++)
      await expect(works[name]!(model)).rejects.toMatchObject({ name: "RubricateError", code: "ERR_FILE" });
    model.dispose();
  });

  test("leaves the adapter to be trained unchanged", async () => {
    const { file, model } = await load();
    await model.fingerprint();
    const adapter = RedAdapter.create(model);
    const before = vectorsOf(adapter);
    damages[damage]!(file);
    await expect(losses({ model, adapter })).rejects.toMatchObject({ code: "ERR_FILE" });
    expect(vectorsOf(adapter)).toEqual(before);
    model.dispose();
  });
});

const vectorsOf = (adapter: RedAdapter) => [...adapter.vectors()].map((vector) => JSON.stringify(vector));

test.each(Object.keys(works))("a file that was replaced by renaming changes nothing for %s", async (name) => {
  const whole = await load();
  const expected = await works[name]!(whole.model);
  whole.model.dispose();
  const { folder, file, model } = await load();
  const next = join(folder, "next");
  cpSync(file, next);
  truncateSync(next, 50 * page);
  renameSync(next, file);
  expect(await works[name]!(model)).toEqual(expected);
  model.dispose();
});
