import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { native } from "../../lib/native";

test("every getter and method of a native class refuses receivers that are not its handles", () => {
  const child = join(__dirname, "receivers_child.cjs");
  const { calls, wrong } = JSON.parse(execFileSync(process.execPath, [child], { encoding: "utf8" }));
  expect(wrong).toEqual([]);
  expect(calls).toBeGreaterThan(500);
});

test("a getter's error names what was expected and what was received", () => {
  const { get } = Object.getOwnPropertyDescriptor(native().Tape.prototype, "recorded")!;
  expect(() => get!.call(new Map())).toThrow("Expected a tape for this but received an instance of Map");
});
