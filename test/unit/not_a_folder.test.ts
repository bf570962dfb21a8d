/** What is given in place of a model's or an adapter's folder is named, with what to do. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { RedAdapter } from "../../lib/adapter/red_adapter";
import { LanguageModel } from "../../lib/model/model";
import { runCli } from "./cli_support";
import { fakeModel } from "./fake_native";

jest.mock("../../lib/native", () => require("./fake_native"));

const home = mkdtempSync(join(tmpdir(), "rubricate-found-"));
afterAll(() => rmSync(home, { recursive: true }));
const file = (...names: string[]) => {
  const path = join(home, ...names);
  mkdirSync(join(path, ".."), { recursive: true });
  writeFileSync(path, "{}");
  return path;
};
const asModel = (path: string) => LanguageModel.fromPretrained(path);
const asAdapter = (path: string) => RedAdapter.fromPretrained(path, fakeModel());
const error = (says: RegExp | string) => ({
  code: "ERR_FILE",
  message: typeof says === "string" ? expect.stringContaining(says) : expect.stringMatching(says),
});

test.each([
  ["a model", asModel],
  ["an adapter", asAdapter],
])("a name of the Hub in place of %s", async (what, load) => {
  const name = "meta-llama/Llama-2-7b-hf";
  const says = `; "${name}" looks like a name on the Hugging Face Hub: nothing is downloaded, so fetch it with "hf download ${name} --local-dir DIR"`;
  await expect(load(name)).rejects.toMatchObject(
    error(`Expected ${what} folder at ${join(process.cwd(), name)}: ENOENT`),
  );
  await expect(load(name)).rejects.toMatchObject(error(says));
  // Paths whose first part is a folder, and others that no name of the Hub looks like.
  for (const path of ["lib/none", "./meta-llama/x", "/meta-llama/x", "a/b/c", "none", "../a/b"])
    await expect(load(path)).rejects.toMatchObject(error(/ENOENT[^;]*$/));
});

test("inspect says it of a name of the Hub, too", async () => {
  const { status, stderr } = await runCli(["inspect", "org/model"]);
  expect([status, stderr]).toEqual([
    1,
    expect.stringContaining('"org/model" looks like a name on the Hugging Face Hub'),
  ]);
});

test.each([
  ["llama.Q4_K_M.gguf", "but it is a file: llama.cpp's format, which is not read"],
  ["model.safetensors", "but it is a file: give the folder that it is in"],
  ["pytorch_model.bin", "but it is a file: PyTorch's pickles: convert them with transformers' save_pretrained"],
  ["notes.txt", /but it is a file$/],
])("the file %s", async (name, says) => {
  await expect(asModel(file("files", name))).rejects.toMatchObject(error(says));
  await expect(asAdapter(file("files", name))).rejects.toMatchObject(error(says));
});

test("a .pth file, or a folder with one, as the adapter: what imports it", async () => {
  const path = file("reference", "delta_vector.pth");
  const says = (one: string) => `"rubricate import --model BASE --from ${one} --out DIR"`;
  await expect(asAdapter(path)).rejects.toMatchObject(error(`but it is a file: if it is delta_vector.pth of RED's`));
  await expect(asAdapter(path)).rejects.toMatchObject(error(says(path)));
  await expect(asAdapter(join(path, ".."))).rejects.toMatchObject({
    code: "ERR_ADAPTER_FORMAT",
    message: expect.stringContaining(says(path)),
  });
  await expect(asModel(path)).rejects.toMatchObject(error("but it is a file: PyTorch's pickles"));
});

test("a folder with only a GGUF file, and no config.json", async () => {
  const path = join(file("gguf", "x.Q8_0.GGUF"), "..");
  await expect(asModel(path)).rejects.toMatchObject(
    error("it has no config.json, and x.Q8_0.GGUF is of llama.cpp's format"),
  );
});

test("an adapter's folder as the model: PEFT's is to be merged, another is to be loaded as the adapter", async () => {
  const path = file("peft", "adapter_config.json");
  await expect(asModel(join(path, ".."))).rejects.toMatchObject(
    error("but it is an adapter's: load its base as the model"),
  );
  for (const type of ["LORA", "IA3"]) {
    writeFileSync(path, `{"peft_type": "${type}"}`);
    await expect(asModel(join(path, ".."))).rejects.toMatchObject(
      error("but it is an adapter's: load its base as the model"),
    );
  }
  writeFileSync(path, '{"peft_type": "ADALORA"}');
  await expect(asModel(join(path, ".."))).rejects.toMatchObject(
    error("but it is an adapter's of PEFT, which cannot be loaded. Merge it into its base with peft"),
  );
});
