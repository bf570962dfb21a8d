/** Datasets and runs that nobody disposes of or finishes hold nothing once they are collected. */
import { execFileSync } from "node:child_process";
import { join } from "node:path";

const child = (kind: string) =>
  JSON.parse(
    execFileSync(process.execPath, ["--expose-gc", join(__dirname, "collected_child.cjs"), kind], { encoding: "utf8" }),
  );

test("datasets end their threads, but for one of which a part is left, and finish what is being read", () => {
  const { length, most, left, still } = child("datasets");
  expect(most).toBeGreaterThan(left);
  expect({ length, left, still }).toEqual({ length: 3, left: 1, still: true });
});

test("a run that was never finished gives its adapter, its folder and its log back", () => {
  expect(child("runs")).toEqual({
    during: { held: 1, logs: 1 },
    refused: "ERR_BUSY",
    after: { held: 0, logs: 0 },
    steps: 9,
  });
});
