/** Which mutants `test/mutants/run.mjs` chooses. Apart from mutants.test.ts, which it does not run. */
import { execFileSync } from "node:child_process";
import path from "node:path";

const root = path.join(__dirname, "..", "..");

test("--only takes patterns, and the shares of --shard are all mutants once", () => {
  const script = `import { fits, shareOf } from "./test/mutants/patches.mjs";
    const refuses = (text) => { try { shareOf([1], text); return false; } catch { return true; } };
    console.log(JSON.stringify({
      fitting: [["a-b", "a-b"], ["a-b", "a"], ["a-b", "a*"], ["a-b", "*b"], ["a-b", "a.b"]].map((pair) => fits(...pair)),
      shares: [1, 2, 3].map((i) => shareOf([1, 2, 3, 4, 5, 6, 7], i + "/3")),
      refused: ["0/3", "4/3", "1", "1/0", "x/3"].map(refuses),
    }));`;
  const printed = execFileSync(process.execPath, ["--input-type=module", "-e", script], {
    cwd: root,
    encoding: "utf8",
  });
  expect(JSON.parse(printed)).toEqual({
    fitting: [true, false, true, true, false],
    shares: [
      [1, 4, 7],
      [2, 5],
      [3, 6],
    ],
    refused: Array(5).fill(true),
  });
});
