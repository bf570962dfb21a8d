/** The patches of test/mutants name their tests and apply; `test/mutants/run.mjs` shows that the tests notice them. */
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import path from "node:path";

const root = path.join(__dirname, "..", "..");

/** Name, kind and selection of the nearest tests; jest cannot import the module itself. */
const mutants: { name: string; path: string; nearest: { kind: string; select: string[] } }[] = JSON.parse(
  execFileSync(
    process.execPath,
    [
      "--input-type=module",
      "-e",
      'import { readMutants } from "./test/mutants/patches.mjs"; console.log(JSON.stringify(readMutants()))',
    ],
    { cwd: root, encoding: "utf8" },
  ),
);

test("every mutant applies", () => {
  expect(mutants.length).toBeGreaterThan(100);
  const failed = mutants.filter(({ path: patch }) => {
    try {
      execFileSync("git", ["apply", "--check", patch], { cwd: root, stdio: "pipe" });
      return false;
    } catch {
      return true;
    }
  });
  expect(failed.map(({ name }) => name)).toEqual([]);
});

test("every mutant names tests that exist", () => {
  const sources = readdirSync(path.join(root, "native"), { recursive: true, encoding: "utf8" });
  const native = new Set(sources.filter((name) => name.endsWith("_test.cc")).map((name) => path.basename(name, ".cc")));
  const exists = (kind: string) => (name: string) =>
    kind === "jest" ? existsSync(path.join(root, name)) : native.has(name);
  const unknown = mutants.filter(({ nearest: { kind, select } }) => !select.every(exists(kind)));
  expect(unknown.map(({ name }) => name)).toEqual([]);
});

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
