import { execFileSync } from "node:child_process";
import { join } from "node:path";

// Five moments here; `node test/runtime/kill9.mjs` takes fifty.
test("a run killed at random moments ends as the uninterrupted one", () => {
  const output = execFileSync(process.execPath, [join(__dirname, "kill9.mjs"), "5", "7"], { encoding: "utf8" });
  expect(JSON.parse(output.split("\n")[1]!)).toMatchObject({ kills: expect.any(Number) });
  expect(output).toContain("the finished adapter is the uninterrupted run's");
}, 120_000);

// Two moments here; `node test/runtime/kill9_runs.mjs` takes twenty.
test("runs of a MultiTrainer that are killed at random moments end as runs that are not", () => {
  const output = execFileSync(process.execPath, [join(__dirname, "kill9_runs.mjs"), "2", "7"], { encoding: "utf8" });
  expect(output).toContain("the finished adapters are those of runs that were never killed");
}, 120_000);
