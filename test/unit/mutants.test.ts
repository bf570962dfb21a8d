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
    kind === "jest" ? existsSync(path.join(root, name)) : native.has(name); // native, arm64, cuda
  const unknown = mutants.filter(({ nearest: { kind, select } }) => !select.every(exists(kind)));
  expect(unknown.map(({ name }) => name)).toEqual([]);
});
