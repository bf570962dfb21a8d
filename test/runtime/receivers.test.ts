import { execFileSync } from "node:child_process";
import { join } from "node:path";

test("every getter and method of a native class refuses what is no handle of it", () => {
  const child = join(__dirname, "receivers_child.cjs");
  const { calls, wrong } = JSON.parse(execFileSync(process.execPath, [child], { encoding: "utf8" }));
  expect(wrong).toEqual([]);
  expect(calls).toBeGreaterThan(500);
});

test("a getter's error names what was expected and what came", () => {
  const script = `
    const { native } = require("./native_support.cjs");
    const { get } = Object.getOwnPropertyDescriptor(native.Tape.prototype, "recorded");
    try { get.call(new Map()); } catch (error) { console.log(error.message); }`;
  const said = execFileSync(process.execPath, ["-e", script], { encoding: "utf8", cwd: __dirname });
  expect(said.trim()).toBe("Expected a tape for this but received an instance of Map");
});
