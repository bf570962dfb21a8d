import { execFileSync } from "node:child_process";
import { join } from "node:path";

// Five moments here; `node test/runtime/kill9.mjs` takes fifty.
test("a run killed at random moments ends as the uninterrupted one", () => {
  const output = execFileSync(process.execPath, [join(__dirname, "kill9.mjs"), "5", "7"], { encoding: "utf8" });
  expect(JSON.parse(output.split("\n")[1]!)).toMatchObject({ kills: expect.any(Number) });
  expect(output).toContain("the finished adapter is the uninterrupted run's");
}, 120_000);
