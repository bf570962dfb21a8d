/** The benchmarks of serving run to their end on a tiny model, and find no tokens or losses that differ. */
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const root = join(__dirname, "../..");
const node = (...args: string[]) => promisify(execFile)(process.execPath, args, { cwd: root });

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "rubricate-bench-test-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** What a benchmark wrote; it exits with 1 if tokens or losses differ. */
async function measured(name: string, ...args: string[]) {
  const out = join(folder, "results.json");
  const script = `bench/serve/${name}.mjs`;
  const { stdout } = await node(script, "--shape", "tiny", ...args, "--out", out);
  const written = JSON.parse(await readFile(out, "utf8"));
  expect(written).toMatchObject({
    date: expect.any(String),
    machine: { cpu: expect.any(String), cores: expect.any(Number) },
    loadAverage: expect.any(Number),
    shape: "tiny",
    dtype: "bfloat16",
  });
  return { ...written, stdout };
}

/** NaN is written as null. */
const number = expect.any(Number);

test("requests over several adapters, one and none", async () => {
  const { results, same, stdout } = await measured(
    "mixing",
    "--requests",
    "12",
    "--adapters",
    "12,1,0",
    "--pairs",
    "6",
  );
  expect(same).toBe(true);
  expect(stdout).toContain("tokens equal");
  expect(results).toMatchObject([
    { adapters: 12, against: 1, ratio: number, interval: [number, number] },
    { adapters: 1, against: 0, ratio: number, interval: [number, number] },
    { adapters: 0, tokensPerSecond: number },
  ]);
  // the adapters differ, and none is the identity
  expect(results[0].differ).toBeGreaterThan(0);
  expect(results[1].differ).toBeGreaterThan(0);
});

test("many adapters set against few", async () => {
  const sizes = ["--requests", "4", "--resident", "20", "--few", "4", "--pairs", "6"];
  const { results, same } = await measured("mixing", ...sizes);
  expect(same).toBe(true);
  // 2 layers with a scale and a bias of 48 values of 4 bytes each
  expect(results).toMatchObject({ resident: 20, few: 4, ratio: number, adapterBytes: 16 * 2 * 2 * 48 * 4 });
});

test("a long prompt beside streams: a new one each time", async () => {
  const sizes = ["--prompt", "300", "--streams", "2", "--step-ms", "5,20", "--repeats", "2"];
  const { results, same } = await measured("prompt", ...sizes);
  expect(same).toBe(true);
  const one = { longestMs: number, beforeLongestMs: number, firstTokenMs: number, cachedTokens: 0 };
  expect(results).toMatchObject([
    { stepMs: 5, ...one },
    { stepMs: 20, ...one },
  ]);
});

test("training beside streams", async () => {
  const sizes = ["--streams", "2", "--shares", "0.5", "--seconds", "1", "--length", "32", "--tokens", "64"];
  const { results, sameTokens, sameLosses, jobAlone } = await measured("training", ...sizes);
  expect([sameTokens, sameLosses]).toEqual([true, true]);
  expect(jobAlone.tokensPerSecond).toBeGreaterThan(0);
  const served = { count: number, p50Ms: number, longestMs: number, tokensPerSecond: number };
  expect(results).toMatchObject([
    { trainingShare: 0.5, alone: { served }, beside: { served, job: { tokensPerSecond: number } } },
  ]);
});

(process.platform === "linux" ? test : test.skip)(
  "the main thread's time, and lateness beside long prompts",
  async () => {
    const sizes = ["--streams", "3", "--seconds", "0.1", "--late-streams", "2", "--characters", "500"];
    const { results } = await measured("javascript", ...sizes);
    const one = { shape: "tiny", streams: 3, mainThreadUsPerToken: number, tokensPerSecond: number };
    expect(results.tokens).toMatchObject([
      { reader: "generate", ...one },
      { reader: "complete", ...one },
      { reader: "complete with 5 log-probabilities", ...one },
    ]);
    for (const { mainThreadUsPerToken } of results.tokens) expect(mainThreadUsPerToken).toBeGreaterThan(0);
    expect(results.lateness).toMatchObject([
      { shape: "tiny", streams: 2, characters: 500, promptTokens: number, lateMs: { p50: number, "p99.9": number } },
    ]);
  },
);

test.each([
  ["mixing", "--requests", "0", "Expected whole numbers from 1 on, comma-separated, for --requests but received 0"],
  ["mixing", "--pairs", "5", "Expected whole numbers from 6 on, comma-separated, for --pairs but received 5"],
  ["prompt", "--streams", "2,3", "Expected one number for --streams but received 2,3"],
  ["javascript", "--streams", "x", "Expected whole numbers from 1 on, comma-separated, for --streams but received x"],
  ["training", "--shares", "0.1,x", "Expected numbers above 0, comma-separated, for --shares but received 0.1,x"],
  ["prompt", "--shape", "large", "Expected one of tiny, embedded, 15m, 110m, 7b for --shape but received large"],
])("%s refuses %s %s", async (name, option, value, message) => {
  const refused = node(`bench/serve/${name}.mjs`, option, value);
  await expect(refused).rejects.toMatchObject({ code: 2, stderr: `${message}\n` });
});
