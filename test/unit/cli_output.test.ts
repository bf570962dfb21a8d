/** What `rubricate train` and `rubricate demo` do if --out has something already. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { rowsOf, runCli, writeModel } from "./cli_support";

let home: string;
const at = (...names: string[]) => join(home, ...names);
beforeEach(async () => {
  home = mkdtempSync(join(tmpdir(), "rubricate-out-"));
  await writeModel(at("model"));
  writeFileSync(at("data.jsonl"), rowsOf(4));
});
afterEach(() => rmSync(home, { recursive: true }));

const train = (...more: string[]) =>
  runCli([
    "train",
    "--model",
    at("model"),
    "--data",
    at("data.jsonl"),
    "--max-steps",
    "2",
    "--out",
    at("out"),
    ...more,
  ]);
const adapter = () => readFileSync(at("out", "adapter_model.safetensors"));

test("the model's folder is refused with any flags, and stays as it was", async () => {
  symlinkSync(at("model"), at("link"));
  const before = readdirSync(at("model"));
  const weights = readFileSync(at("model", "model.safetensors"));
  for (const out of [at("model"), at("link"), `${at("model")}/../model/`])
    for (const flags of [[], ["--method", "full"], ["--method", "full", "--overwrite"], ["--resume=auto"]]) {
      const { status, stderr } = await train("--out", out, ...flags);
      expect([status, stderr]).toEqual([1, expect.stringMatching(/^rubricate train: Expected an --out other than /)]);
    }
  expect(readdirSync(at("model"))).toEqual(before);
  expect(readFileSync(at("model", "model.safetensors")).equals(weights)).toBe(true);
});

test("an adapter of another run is refused before anything is loaded, and replaced with --overwrite", async () => {
  expect((await train()).status).toBe(0);
  const first = adapter();
  const refused = await train("--seed", "7", "--model", at("nowhere"));
  expect(refused.stderr).toMatch(
    /; resume that run \(--resume\), choose another --out, or replace them with --overwrite \[/,
  );
  expect(refused.status).toBe(1);
  rmSync(at("out", "checkpoint-2"), { recursive: true });
  const finished = await train("--seed", "7", "--resume=auto");
  expect(finished.stderr).toMatch(
    /adapter_config.json, and no checkpoint of this run; choose another --out, or replace /,
  );
  const failed = await train("--seed", "7", "--overwrite", "--data", at("nowhere.jsonl"));
  expect([finished.status, failed.status]).toEqual([1, 1]);
  expect(adapter().equals(first)).toBe(true);
  expect((await train("--seed", "7", "--learning-rate", "0.1", "--overwrite")).status).toBe(0);
  expect(adapter().equals(first)).toBe(false);
});

test("a finished run resumes to the same adapter", async () => {
  await train();
  const first = adapter();
  rmSync(at("out", "adapter_model.safetensors")); // as if killed before it was saved
  for (const how of ["--resume", "--resume=auto"]) {
    expect((await train(how)).status).toBe(0);
    expect(adapter().equals(first)).toBe(true);
  }
  expect(readdirSync(at("out")).sort()).toEqual([
    ...["adapter_config.json", "adapter_model.safetensors", "checkpoint-2", "curve.svg", "log.jsonl", "run.json"],
  ]);
});

test("the demo replaces an earlier demo's adapter, and no other", async () => {
  const demo = (...more: string[]) =>
    runCli(["demo", "--model", at("model"), "--epochs", "1", "--max-new-tokens", "1", "--out", at("out"), ...more]);
  await train();
  const first = adapter();
  const refused = await demo();
  expect([refused.status, refused.stderr]).toEqual([1, expect.stringMatching(/or replace them with --overwrite \[/)]);
  rmSync(at("out", "checkpoint-2"), { recursive: true });
  rmSync(at("out", "run.json"));
  expect((await demo()).stderr).toMatch(/Expected no results of another run .* found .*adapter_config.json/);
  expect(adapter().equals(first)).toBe(true);
  expect((await demo("--overwrite")).status).toBe(0);
  expect((await demo()).status).toBe(0);
  expect((await demo("--out", at("model"))).stderr).toContain("Expected a folder without a model");
  expect(existsSync(at("model", "adapter_config.json"))).toBe(false);
}, 120_000);

test("on a terminal the losses are drawn as text after the run, elsewhere not", async () => {
  const argv = ["train", "--model", at("model"), "--data", at("data.jsonl"), "--max-steps", "2", "--out", at("out")];
  const chart = / [\d.]+ \|[ .]*\.\n[\s\S]+\. training loss\nthe losses are drawn in .*curve\.svg\n$/;
  expect((await runCli(argv, { columns: 80 })).stderr).toMatch(chart);
  const others = [
    await runCli([...argv, "--overwrite"]),
    await runCli([...argv, "--overwrite", "--json"], { columns: 80 }),
  ];
  for (const { status, stderr } of others) expect([status, stderr.includes("training loss\n")]).toEqual([0, false]);
});
