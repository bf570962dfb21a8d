/** Two copies of the package in one process, as of two dependencies with their own. */
import { execFileSync } from "node:child_process";
import { copyFileSync, cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { RubricateError } from "../../lib/errors";
import { OtherRun } from "../../lib/train/resume";

const root = join(__dirname, "..", "..");
let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "rubricate-copies-"));
  for (const name of ["a", "b"]) {
    const copy = join(folder, name);
    mkdirSync(join(copy, "build", "Release"), { recursive: true });
    cpSync(join(root, "dist"), join(copy, "dist"), { recursive: true });
    copyFileSync(join(root, "package.json"), join(copy, "package.json"));
    // A link to the same file would be the same library in the process.
    copyFileSync(join(root, "build", "Release", "rubricate.node"), join(copy, "build", "Release", "rubricate.node"));
    symlinkSync(join(root, "node_modules"), join(copy, "node_modules"));
  }
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const program = `
const [a, b] = [require("./a"), require("./b")];
const said = {};
const tell = async (name, work) => {
  try {
    await work();
    said[name] = "nothing was thrown";
  } catch (error) {
    said[name] = [error instanceof a.RubricateError, error instanceof b.RubricateError, error.code, error.message];
  }
};
(async () => {
  const dir = a.embeddedModelDir();
  const [modelA, modelB] = [await a.LanguageModel.fromPretrained(dir), await b.LanguageModel.fromPretrained(dir)];
  const adapterA = a.RedAdapter.create(modelA);
  const dataA = await a.Dataset.fromRows([{ text: "The king." }], { tokenizer: modelA.tokenizer, maxLength: 8 });
  const tensorA = a.Tensor.from([1], [1]);
  await tell("model", () => b.RedAdapter.create(modelA));
  await tell("adapter", () => modelB.logits([1], { adapter: adapterA }));
  await tell("tokenizer", () => b.Dataset.fromRows([{ text: "a" }], { tokenizer: modelA.tokenizer, maxLength: 8 }));
  await tell("dataset", () => b.evaluate(modelB, dataA));
  await tell("tensor", () => b.ops.silu(new b.Tape(), tensorA));
  await tell("tape", () => b.ops.silu(new a.Tape(), b.Tensor.from([1], [1])));
  await tell("addon's error", () => a.ops.add(new a.Tape(), tensorA, a.Tensor.from([1, 2], [2])));
  said.works = [...b.ops.add(new b.Tape(), b.Tensor.from([1], [1]), b.Tensor.from([2], [1])).data()][0];
  await dataA.dispose();
  console.log(JSON.stringify(said));
})();`;

test("errors of each are instances of the other's class, and objects of the other are refused as such", () => {
  writeFileSync(join(folder, "program.cjs"), program);
  const said = JSON.parse(execFileSync(process.execPath, ["program.cjs"], { cwd: folder, encoding: "utf8" }));
  const refused = (name: string, expected = "") => [
    true,
    true,
    "ERR_ARGUMENT",
    expect.stringMatching(
      `^Expected ${expected}.* but received an instance of ${name} of another copy of rubricate \\("npm ls rubricate" shows them\\)$`,
    ),
  ];
  expect(said).toEqual({
    model: refused("LanguageModel", "a LanguageModel for model"),
    adapter: refused("RedAdapter", "a RedAdapter, a LoraAdapter, an Ia3Adapter or a MethodAdapter for adapter"),
    tokenizer: refused("Tokenizer", "a Tokenizer for tokenizer"),
    dataset: refused("Dataset", "a Dataset or an array of examples for data"),
    tensor: refused("Tensor", "a Tensor for a"),
    tape: refused("Tape", "a Tape for tape"),
    "addon's error": [true, true, "ERR_SHAPE", expect.any(String)],
    works: 3,
  });
});

test("the class of errors takes nothing else, and its subclasses only their own", () => {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  for (const other of [new Error("a"), { code: "ERR_ARGUMENT" }, null, undefined, "ERR_ARGUMENT", proxy])
    expect(other instanceof RubricateError).toBe(false);
  expect(new RubricateError("ERR_ARGUMENT", "a") instanceof OtherRun).toBe(false);
  const own = new OtherRun("folder", "a");
  expect([own instanceof OtherRun, own instanceof RubricateError, own instanceof Error]).toEqual([true, true, true]);
});
