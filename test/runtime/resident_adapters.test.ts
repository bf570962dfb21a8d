/** The memory of many adapters in an engine: little more than their bytes. */
import { execFileSync } from "node:child_process";
import { join } from "node:path";

// Copies of the vectors on JavaScript's heap, and versions among the blocks of malloc that these leave, took 1.5 times as much.
test.each([
  ["changed vectors of one adapter", "changed"],
  ["new adapters", "new"],
])("1,000 versions take at most 1.2 times their bytes: %s", (_, kind) => {
  const child = join(__dirname, "resident_adapters_child.cjs");
  const required = ["--expose-gc", "--require", join(__dirname, "typescript.cjs")];
  const { grown, bytes } = JSON.parse(
    execFileSync(process.execPath, [...required, child, kind, "1000"], { encoding: "utf8" }),
  );
  expect(bytes).toBeGreaterThan(60e6);
  expect(grown).toBeLessThan(1.2 * bytes);
});
