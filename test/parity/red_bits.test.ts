/** RED's training keeps its bits: those of red_bits.json, on every CPU path that this machine has. */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { native } from "../../lib/native";

const stored = JSON.parse(readFileSync(join(__dirname, "red_bits.json"), "utf8"));

const run = (env: NodeJS.ProcessEnv) =>
  JSON.parse(
    execFileSync(process.execPath, [join(__dirname, "red_bits.mjs")], {
      env: { ...process.env, ...env },
      encoding: "utf8",
    }),
  );

test.each(native().cpu().supported)("ten steps of every variant and site have the bits they had: %s", (path) => {
  expect(run({ RUBRICATE_CPU_PATH: path })).toEqual({ path, hashes: stored[path] });
});

test("with one thread and with three, too", () => {
  const [one, three] = ["1", "3"].map((threads) => run({ RUBRICATE_NUM_THREADS: threads }));
  expect(one).toEqual(three);
  expect(one.hashes).toEqual(stored[one.path]);
});

test("every path, dtype, variant and set of sites has its hash", () => {
  expect(Object.keys(stored).sort()).toEqual(["amx_bf16", "avx2", "avx512", "avx512_bf16", "neon", "portable"]);
  const cases = ["float32", "bfloat16"].flatMap((dtype) =>
    ["all", "scale", "bias", "ln"].flatMap((variant) =>
      ["outer", "inner"].map((sites) => `${dtype} ${variant} ${sites}`),
    ),
  );
  for (const hashes of Object.values(stored)) expect(Object.keys(hashes as object).sort()).toEqual(cases.sort());
});
