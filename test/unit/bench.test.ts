import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { LanguageModel } from "../../lib/model/model";

const root = join(__dirname, "../..");
const node = (...args: string[]) => promisify(execFile)(process.execPath, args, { cwd: root });

const escaped = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "rubricate-bench-test-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

test.each([
  ["call overhead", "calls/s", 3],
  ["RED edit: forward, f32 [512, 192]", "GB/s", 1],
  ["adapter switch: embedded, float32", "tokens/s", 1],
])("the benchmark writes what it timed of %s, with the machine named", async (filter, unit, count) => {
  const out = join(folder, "results.json");
  const { stdout } = await node("bench/main.mjs", "--quick", "--filter", filter, "--out", out);
  const written = JSON.parse(await readFile(out, "utf8"));
  expect(written).toMatchObject({
    date: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
    rubricate: JSON.parse(await readFile(join(root, "package.json"), "utf8")).version,
    machine: {
      cpu: expect.any(String),
      cores: expect.any(Number),
      processor: { name: expect.any(String), flags: expect.any(String) },
      peaks: { float32: expect.any(Number), bfloat16: expect.any(Number), read: expect.any(Number) },
      path: expect.any(String),
      threads: expect.any(Number),
      node: process.version,
    },
    loadAverage: expect.any(Number),
    quick: true,
  });
  expect(written.results).toHaveLength(count);
  for (const result of written.results) {
    expect(result.name).toContain(filter);
    expect([typeof result.spread, result.calls]).toEqual(["number", unit === "calls/s" ? 100 : 1]);
    expect(result.peakShare === null).toBe(unit !== "GB/s");
    expect(result.unit).toBe(unit);
    expect(result.runs).toBeGreaterThanOrEqual(2);
    expect(result.bestMs).toBeLessThanOrEqual(result.medianMs);
    expect(result.rate).toBeGreaterThan(0);
    expect(stdout).toContain(result.name.slice(result.name.indexOf(": ") + 2));
  }
  const again = await node("bench/main.mjs", "--quick", "--filter", filter, "--compare", out);
  for (const { name } of written.results)
    expect(again.stdout).toMatch(new RegExp(`^ +\\d+\\.\\d\\d  ${escaped(name)}$`, "m"));
});

test("a filter that matches nothing fails", async () => {
  await expect(node("bench/main.mjs", "--quick", "--filter", "nothing is called so")).rejects.toMatchObject({
    code: 1,
  });
});

test("a random model is the same in one file and in three shards, another with another seed", async () => {
  const made = async (name: string, ...args: string[]) => {
    const path = join(folder, name);
    await node("bench/js/random_model.mjs", path, "--shape", "tiny", ...args);
    const model = await LanguageModel.fromPretrained(path);
    const { weights } = await model.fingerprint();
    const { dtype } = model;
    model.dispose();
    return { weights, dtype };
  };
  const one = await made("one", "--dtype", "bfloat16");
  expect(one.dtype).toBe("bfloat16");
  expect(await made("three", "--dtype", "bfloat16", "--shards", "3")).toEqual(one);
  expect((await made("other", "--dtype", "bfloat16", "--seed", "2")).weights).not.toBe(one.weights);
  expect((await made("wide", "--dtype", "float32")).dtype).toBe("float32");
});
