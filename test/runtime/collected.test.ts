/** Datasets that are not disposed of, and unfinished runs, hold nothing after they are garbage-collected. */
import { execFileSync } from "node:child_process";
import { join } from "node:path";

const child = (kind: string) =>
  JSON.parse(
    execFileSync(process.execPath, ["--expose-gc", join(__dirname, "collected_child.cjs"), kind], { encoding: "utf8" }),
  );

test("datasets end their threads, except one with a part still in use, and finish running reads", () => {
  const { length, most, left, still } = child("datasets");
  expect(most).toBeGreaterThan(left);
  expect({ length, left, still }).toEqual({ length: 3, left: 1, still: true });
});

test("an unfinished run releases its adapter, its folder and its log", () => {
  expect(child("runs")).toEqual({
    during: { held: 1, open: [".rubricate-lock", "log.jsonl"] },
    refused: "ERR_BUSY",
    after: { held: 0, open: [] },
    steps: 9,
  });
});
