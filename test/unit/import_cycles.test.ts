/** lib/ has no import cycle, including imports of types, and `npm run lint` fails with the path of one. */
import { spawnSync } from "node:child_process";
import { appendFileSync, cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

const root = path.join(__dirname, "..", "..");
const biome = require.resolve("@biomejs/biome/bin/biome");
const sourceOnly = (file: string) => path.basename(file) !== "default";

let copy: string;
beforeEach(() => {
  copy = mkdtempSync(path.join(tmpdir(), "rubricate-cycles-"));
  cpSync(path.join(root, "biome.json"), path.join(copy, "biome.json"));
  cpSync(path.join(root, "lib"), path.join(copy, "lib"), { recursive: true, filter: sourceOnly });
});
afterEach(() => rmSync(copy, { recursive: true, force: true }));

/** The linter's output for the copy, which is not a Git checkout. */
function lint(): { readonly status: number | null; readonly text: string } {
  const args = [biome, "ci", "--vcs-enabled=false", "--colors=off", "."];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { cwd: copy, encoding: "utf8" });
  return { status, text: `${stdout}${stderr}` };
}

const plant = (file: string, line: string) => appendFileSync(path.join(copy, file), `${line}\n`);

test("lib has no import cycle", () => {
  const scripts = JSON.parse(readFileSync(path.join(root, "package.json"), "utf8")).scripts;
  expect(scripts.lint).toMatch(/^biome ci \. /);
  expect(lint()).toMatchObject({ status: 0 });
});

test("the linter fails with the path of a cycle of values", () => {
  plant("lib/errors.ts", 'export { listOf } from "./tensor/tensor";');
  const { status, text } = lint();
  expect(status).toBe(1);
  expect(text).toMatch(/lib\/errors\.ts:\d+:\d+ lint\/suspicious\/noImportCycles/);
  expect(text).toMatch(
    /resolves to lib\/tensor\/tensor\.ts\s+\.\.\. which imports lib\/brands\.ts\s+.*lib\/errors\.ts/,
  );
});

test("the linter fails with the path of a cycle of types", () => {
  plant("lib/limits.ts", 'export type { Tensor } from "./tensor/tensor";');
  const { status, text } = lint();
  expect(status).toBe(1);
  expect(text).toMatch(/lib\/limits\.ts:\d+:\d+ lint\/suspicious\/noImportCycles/);
  expect(text).toMatch(/resolves to lib\/tensor\/tensor\.ts\s+\.\.\. which imports lib\/limits\.ts/);
});

test("lib has no type of the form import(path).Name, which the linter does not follow", () => {
  const files = readdirSync(path.join(root, "lib"), { recursive: true, encoding: "utf8" });
  const sources = files.filter((file) => file.endsWith(".ts"));
  expect(sources.length).toBeGreaterThan(50);
  for (const file of sources)
    expect(readFileSync(path.join(root, "lib", file), "utf8")).not.toMatch(/\bimport\(["'`]\./);
});
