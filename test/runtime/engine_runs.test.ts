/** Few requests and sets here; by hand, before a release, the scripts take many (CONTRIBUTING.md). */
import { spawnSync } from "node:child_process";
import { join } from "node:path";

function run(script: string, ...args: string[]): string {
  const child = spawnSync(process.execPath, [join(__dirname, script), ...args], { encoding: "utf8" });
  expect(child).toMatchObject({ stderr: "", status: 0 });
  return child.stdout;
}

test("random requests at once, with preemptions, prefixes and aborts, answer as each does alone", () => {
  const output = run("engine_requests.mjs", "100", "tiny", "7");
  expect(output).toMatch(/"preemptions":[1-9]\d*,"prefixTokens":[1-9]/);
  expect(output).toMatch(/all answers are those of the \d+ different requests alone/);
}, 120_000);

test("answers beside sets of their adapter are each of the version that they name", () => {
  expect(run("engine_sets.mjs", "60")).toContain("each answer is of the version that it names: ");
}, 120_000);

test("requests that end in every way leave no page behind", () => {
  expect(run("engine_memory.mjs", "500", "3")).toContain("each request ended in its way, and every page is back");
}, 120_000);

test.each([
  ["engine_requests.mjs", ["0"], "Expected a positive integer for COUNT but received 0\n"],
  ["engine_requests.mjs", ["5", "huge"], "but received huge\n"],
])("%s with %j says what is expected", (script, args, message) => {
  const child = spawnSync(process.execPath, [join(__dirname, script), ...args], { encoding: "utf8" });
  expect(child).toMatchObject({ status: 2, stderr: expect.stringContaining(message) });
});
