import { execFileSync, spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { errorCodes } from "../../lib/errors";
import { native } from "../../lib/native";

const { runnableBlocks, asCommonJs } = require("./docs_blocks.cjs") as {
  runnableBlocks(markdown: string): { language: string; text: string }[];
  asCommonJs(program: string): string;
};

const root = join(__dirname, "..", "..");
const read = (path: string) => readFileSync(join(root, path), "utf8");

function filesUnder(folder: string, name: RegExp): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
    .filter((path) => name.test(path))
    .map((path) => join(folder, path));
}

const pages = [
  ...readdirSync(root).filter((name) => name.endsWith(".md")),
  ...filesUnder("docs", /\.md$/),
  "lib/embedded/MODEL_CARD.md",
];

/** Text without its blocks of code. */
const withoutBlocks = (markdown: string) => markdown.replace(/^```[\s\S]*?^```$/gm, "");

/** The names that GitHub gives to headings. */
function anchorsOf(markdown: string): string[] {
  const headings = [...withoutBlocks(markdown).matchAll(/^#+ (.*)$/gm)].map(([, text]) => text!);
  return headings.map((text) =>
    text
      .toLowerCase()
      .replace(/[^\p{Letter}\p{Number} _-]/gu, "")
      .replaceAll(" ", "-"),
  );
}

describe("the text", () => {
  test.each(pages)("the links of %s have targets", (page) => {
    const links = [...withoutBlocks(read(page)).matchAll(/\]\(([^)\s]+)\)/g)].map(([, link]) => link!);
    const broken = links.filter((link) => {
      if (/^https?:/.test(link)) return false;
      const [path, anchor] = link.split("#") as [string, string | undefined];
      const target = path === "" ? page : join(dirname(page), path);
      if (!existsSync(join(root, target))) return true;
      return anchor !== undefined && !anchorsOf(read(target)).includes(anchor);
    });
    expect(broken).toEqual([]);
  });

  test.each(["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"])("the files that %s names exist", (page) => {
    const named = [...withoutBlocks(read(page)).matchAll(/`([\w.@-]+(?:\/[\w.@-]+)+\/?)`/g)].map(([, path]) => path!);
    const ours = named.filter((path) => /^(lib|native|test|bench|docs|\.ci)\//.test(path) && !path.includes("NAME"));
    expect(ours.filter((path) => !existsSync(join(root, path)))).toEqual([]);
  });

  const sources = ["lib", "native", "test", "bench"].flatMap((folder) =>
    filesUnder(folder, /\.(ts|[cm]js|cc|h|inl|cuh?|patch)$/),
  );

  test.each(["ARCHITECTURE.md", "CONTRIBUTING.md"])("the files that %s names without their folder exist", (page) => {
    const names = [...read(page).matchAll(/`([\w.]+\.(?:ts|mjs|cc|h|inl|cu|cuh))`/g)].map(([, name]) => name!);
    const ours = names.filter((name) => !/NAME|KERNEL/.test(name));
    expect(ours.length).toBeGreaterThan(2);
    const known = new Set(sources.map((path) => basename(path)));
    expect(ours.filter((name) => !known.has(name))).toEqual([]);
  });

  test("each function and class that ARCHITECTURE.md names with a file is in that file", () => {
    const text = withoutBlocks(read("ARCHITECTURE.md")).replace(/\n/g, " ");
    const named = [...text.matchAll(/`((?!ERR_)[A-Za-z_][\w.:]*)`(?: in |,? \()`((?:lib|native)\/[\w./]+\.\w+)`/g)];
    expect(named.length).toBeGreaterThan(40);
    const missing = named.filter(([, name, path]) => {
      const last = name!.split(/::|\./).at(-1)!;
      return !new RegExp(`\\b${last}\\b`).test(read(path!));
    });
    expect(missing.map(([all]) => all)).toEqual([]);
  });

  test("the map of ARCHITECTURE.md has every folder, and no other", () => {
    const map = read("ARCHITECTURE.md").split("\n## Map\n")[1]!;
    const drawn = [...map.matchAll(/^\| `([\w/]+\/)` \|/gm)].map(([, folder]) => folder!);
    const folders = sources.flatMap((path) => path.match(/^(?:lib|native|test)\/[^/]+\//) ?? []);
    expect(drawn.sort()).toEqual([...new Set([...folders, "lib/", "bench/"])].sort());
  });

  test("the folders of lib/ import downwards only, in the order that ARCHITECTURE.md draws", () => {
    const drawing = /\n\n((?: {4}lib\/.*\n)+)/.exec(read("ARCHITECTURE.md"))![1]!;
    const lines = drawing.trim().split("\n");
    const layers = lines.map((line) => line.trim().split(/ {2,}/)[0]!.replace("lib/", "").split(", "));
    const rank = (folder: string) => layers.findIndex((layer) => layer.includes(folder));
    const files = sources.filter((path) => /^lib\/\w+\/.*\.ts$/.test(path));
    const drawnFolders = layers.flat().filter((name) => !name.endsWith(".ts"));
    expect(drawnFolders.sort()).toEqual([...new Set(files.map((path) => path.split("/")[1]!))].sort());
    const upward = files.flatMap((path) => {
      const imports = [...read(path).matchAll(/from "\.\.\/(\w+)\//g)].map(([, folder]) => folder!);
      const own = path.split("/")[1]!;
      return imports.filter((to) => to !== own && rank(to) <= rank(own)).map((to) => `${path}: ${to}`);
    });
    expect(upward).toEqual([]);
  });

  test("docs/README.md has every page", () => {
    const index = read("docs/README.md");
    const own = readdirSync(join(root, "docs")).filter((name) => name.endsWith(".md") && name !== "README.md");
    expect(own.filter((name) => !index.includes(`(${name})`))).toEqual([]);
  });

  test("docs/errors.md has every code, and no other", () => {
    const described = anchorsOf(read("docs/errors.md")).filter((name) => name.startsWith("err_"));
    const codes = Object.keys(errorCodes).map((code) => code.toLowerCase());
    expect(described.sort()).toEqual(codes.sort());
  });

  test("docs/environment.md has every variable that the sources read, and no other", () => {
    const sources = ["native", "lib"].flatMap((folder) => filesUnder(folder, /(?<!_test)\.(cc|cu|h|ts|mjs)$/));
    const reads = /(?:getenv\("|process\.env\.)(RUBRICATE_\w+)/g;
    const variables = new Set(sources.flatMap((path) => [...read(path).matchAll(reads)].map(([, name]) => name!)));
    expect(variables.size).toBeGreaterThan(2);
    const described = [...read("docs/environment.md").matchAll(/^## (RUBRICATE_\w+)$/gm)].map(([, name]) => name!);
    expect(described.sort()).toEqual([...variables].sort());
  });

  test("docs/api is up to date with the doc comments", () => {
    const { status, stderr } = spawnSync(process.execPath, ["lib/scripts/make_api_docs.mjs", "--check"], {
      cwd: root,
      encoding: "utf8",
    });
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  });
});

describe("the code in the documents runs", () => {
  let folder: string;

  beforeAll(() => {
    if (!existsSync(join(root, "dist", "index.mjs"))) throw new Error("dist/ is not there: run npm run build:ts");
    folder = mkdtempSync(join(tmpdir(), "rubricate-docs-"));
    mkdirSync(join(folder, "node_modules", ".bin"), { recursive: true });
    symlinkSync(root, join(folder, "node_modules", "rubricate"));
    symlinkSync(join(root, "dist", "cli", "main.js"), join(folder, "node_modules", ".bin", "rubricate"));
    symlinkSync(join(root, "node_modules", "@types"), join(folder, "node_modules", "@types"));
    writeFileSync(join(folder, "package.json"), JSON.stringify({ name: "project", private: true }));
  });

  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  const run = (command: string, ...args: string[]) =>
    execFileSync(command, args, { cwd: folder, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });

  function write(name: string, text: string): string {
    writeFileSync(join(folder, name), text);
    return name;
  }

  /** Runs a block. @returns what it wrote */
  function execute({ language, text }: { language: string; text: string }): string {
    if (language === "js") return run(process.execPath, write("program.mjs", text));
    if (language === "sh") return run("sh", "-e", "-c", text);
    throw new Error(`Expected js or sh for a runnable block but found ${language}`);
  }

  const withBlocks = pages.filter((page) => runnableBlocks(read(page)).length > 0);
  const programs = runnableBlocks(read("README.md")).filter(({ language }) => language === "js");

  test.each(withBlocks)("the runnable blocks of %s, one after the other", (page) => {
    for (const block of runnableBlocks(read(page))) expect(execute(block).trim()).not.toBe("");
  });

  test("the README's program learns, saves and answers", () => {
    expect(programs).toHaveLength(2);
    const output = execute(programs[0]!);
    const losses = [...output.matchAll(/^step \d+ of \d+: loss (\d+\.\d+)$/gm)].map(([, loss]) => Number(loss));
    expect(losses.length).toBeGreaterThan(10);
    expect(losses.at(-1)!).toBeLessThan(0.6 * losses[0]!);
    expect(output.trim().split("\n").slice(-2)).toEqual([
      "Congress speaks of the judges. Justice",
      "The people ask about the militia. War",
    ]);
    expect(readdirSync(join(folder, "my-adapter")).sort()).toEqual([
      "adapter_config.json",
      "adapter_model.safetensors",
    ]);
  });

  test("the README's three tenants: two are answered while one learns, which then answers by what it learned", () => {
    const lines = execute(programs[1]!).trim().split("\n");
    expect(lines.map((line) => line.split(/[: ]/)[0]).sort()).toEqual(["acme", "globex", "initech", "initech"]);
    expect(lines.slice(-2)).toEqual(["initech has version 2", "initech: The Navy, in room seven."]);
  });

  test("the demo prints the table of the README, and most of its answers are right", () => {
    const [, table] = /```text demo\n([^`]+)```/.exec(read("README.md"))!;
    const { supported } = native().cpu();
    // The base's answers depend on last bits; the README has those of this path.
    const env = supported.includes("avx2") ? { ...process.env, RUBRICATE_CPU_PATH: "avx2" } : process.env;
    const output = execFileSync("npx", ["rubricate", "demo"], { cwd: folder, encoding: "utf8", env });
    expect(output).toContain(table);
    const [, before, after] = /^Right answers +([\d.]+) % before, ([\d.]+) % after/m.exec(output)!;
    expect(Number(before)).toBeLessThan(10);
    expect(Number(after)).toBeGreaterThan(80);
  });

  test("the README's program is strict TypeScript, too", () => {
    const compilerOptions = {
      strict: true,
      noEmit: true,
      target: "es2022",
      module: "node16",
      types: ["node"],
      exactOptionalPropertyTypes: true,
      noUncheckedIndexedAccess: true,
    };
    write("program.mts", programs[0]!.text);
    write("tsconfig.json", JSON.stringify({ compilerOptions, files: ["program.mts"] }));
    const tsc = join(root, "node_modules", "typescript", "bin", "tsc");
    const { status, stdout } = spawnSync(process.execPath, [tsc, "-p", folder], { encoding: "utf8" });
    expect({ status, stdout }).toEqual({ status: 0, stdout: "" });
  });

  test("the README's program is a CommonJS program with two changes", () => {
    const converted = asCommonJs(programs[0]!.text);
    expect(converted).not.toContain("import ");
    expect(run(process.execPath, write("program.cjs", converted))).toMatch(/^step 1 of /);
  });
});
