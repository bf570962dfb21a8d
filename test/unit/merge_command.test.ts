/** `rubricate merge`, and the difference that --verify prints. */

import { cpSync, existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { RedSite, RedVariant } from "../../lib/adapter/config";
import { Interrupts } from "../../lib/cli/interrupts";
import { differenceOf } from "../../lib/cli/merge_verify";
import { folderOf } from "../parity/fixtures";
import { runCli } from "./cli_support";
import { temporaryFolder } from "./failing_files";
import { load, redOf } from "./merge_support";

let root: string;
beforeEach(() => {
  root = temporaryFolder();
});
afterEach(() => rmSync(root, { recursive: true, force: true }));
const at = (...names: string[]) => join(root, ...names);

test.each([
  [[[1, 1]], [[Number.NaN, 1]], Number.NaN, Number.NaN],
  [[[1, Number.NaN]], [[1, 1], [1]], Number.NaN, Number.NaN],
  [[[1, 2], [4]], [[1, 2.5], [3]], 1, 0.25],
  [[[0]], [[0]], 0, 0],
])("the difference of %j and %j is %d, %d of the largest logit", (expected, received, difference, ratio) => {
  const arrays = (all: number[][]) => all.map((one) => Float32Array.from(one));
  expect(differenceOf(arrays(expected), arrays(received))).toEqual({ difference, ratio });
}); // biome-ignore format: one line a case

describe("the command line", () => {
  const saved = async (fixture: string, variant: RedVariant = "all", sites: RedSite[] = ["ffn"]) => {
    using model = await load(folderOf(fixture), "auto" as const);
    using adapter = await redOf(model, variant, sites);
    await adapter.savePretrained(at("adapter"));
    return ["merge", "--model", folderOf(fixture), "--adapter", at("adapter"), "--out", at("merged")];
  };

  test("merges, and --verify prints the differences", async () => {
    const outcome = await runCli([...(await saved("gqa")), "--verify", "--json"]);
    expect(outcome.stderr).toBe("");
    expect(outcome.status).toBe(0);
    const events = outcome.stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(events[0]).toEqual({ type: "saved", path: at("merged") });
    const verified = Object.fromEntries(events.slice(1).map((event) => [event.comparison, event]));
    expect(Object.keys(verified)).toEqual(["float32", "bfloat16", "rounding", "rounding_base"]);
    expect(verified.float32.largestDifference).toBeLessThan(1e-5);
    expect(verified.float32.ratio).toBeLessThan(1e-5);
    expect(verified.rounding.largestDifference).toBeGreaterThan(10 * verified.float32.largestDifference);
  });

  test.each(["--model", "--adapter"])("refuses the folder of %s before anything is written", async (flag) => {
    const argv = await saved("gqa");
    cpSync(folderOf("gqa"), at("base"), { recursive: true });
    argv[argv.indexOf("--model") + 1] = at("base");
    const out = argv[argv.indexOf(flag) + 1]!;
    const before = readdirSync(out);
    for (const more of [[], ["--overwrite"], ["--overwrite", "--verify"]]) {
      const outcome = await runCli([...argv, "--out", out, ...more]);
      expect(outcome.stderr).toMatch(
        /other than the (model|adapter)'s .*; choose another folder \(--overwrite does not allow it\) \[ERR_FILE\]/,
      );
      expect(outcome.status).toBe(1);
    }
    expect(readdirSync(out)).toEqual(before);
  });

  test("--verify of logits that are not finite fails, and says whose they are", async () => {
    using model = await load(folderOf("gqa"));
    using adapter = await redOf(model, "scale", ["q", "k"]);
    adapter.setVectors(new Map([...adapter.vectors()].map(([name, values]) => [name, values.fill(1e25)])));
    await adapter.savePretrained(at("adapter"));
    const argv = ["merge", "--model", folderOf("gqa"), "--adapter", at("adapter"), "--out", at("merged"), "--verify"];
    for (const more of [["--json"], ["--overwrite"]]) {
      const outcome = await runCli([...argv, ...more]);
      expect(outcome.stdout).toMatch(
        more.includes("--json") ? /"comparison":"float32","largestDifference":null/ : /NaN/,
      );
      expect(outcome.stderr).toMatch(
        /Expected finite logits but found NaN or Infinity in those of the merged model at .*merged in float32, .*\[ERR_NOT_FINITE\]/,
      );
      expect(outcome.status).toBe(1);
    }
  });

  test("in words", async () => {
    const outcome = await runCli([...(await saved("gqa_bf16", "scale")), "--verify"]);
    expect(outcome.stdout).toMatch(
      /^The merged model is in .*\nmerged weights, computed in float32 .* of the largest logit\)\n/,
    );
    expect(outcome.status).toBe(0);
  });

  test("refuses with the flag's name, before the model is loaded", async () => {
    const argv = await saved("gqa");
    mkdirSync(at("merged"));
    writeFileSync(at("merged/config.json"), "{}");
    const outcome = await runCli(argv);
    expect(outcome.stderr).toMatch(
      /found config\.json; give another folder, or replace what is there with --overwrite \[ERR_FILE\]/,
    );
    expect(outcome.status).toBe(1);
    expect((await runCli([...argv, "--overwrite"])).status).toBe(0);
  });

  test("an adapter that cannot be merged", async () => {
    const outcome = await runCli(await saved("gqa", "ln"));
    expect([outcome.status, outcome.stderr]).toEqual([
      1,
      expect.stringMatching(/site ffn has a layer norm.*\[ERR_MERGE\]/),
    ]);
  });

  test("interrupted, it leaves nothing", async () => {
    const interrupts = new Interrupts();
    const argv = await saved("gqa");
    const onOutput = (text: string) => {
      if (text.includes("wrote")) interrupts.interrupt();
    };
    const outcome = await runCli(argv, { interrupts, onOutput, columns: 80 });
    expect(outcome.status).toBe(130);
    expect(existsSync(at("merged"))).toBe(false);
  });
});
