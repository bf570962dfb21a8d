/** The package as npm makes it: its platforms, its prebuilt addons, its files, and what it says where it cannot run. */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, normalize } from "node:path";
import { describePlatform, prebuiltFor } from "../../lib/platform";

const root = join(__dirname, "..", "..");
const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "rubricate-package-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test("require loads a module when one of its names is first used", () => {
  const program = `
    const rubricate = require(${JSON.stringify(join(root, "dist", "index.js"))});
    const loaded = () => Object.keys(require.cache).length;
    const atFirst = loaded();
    const trainer = [typeof rubricate.Trainer, Object.keys(require.cache).some((path) => path.includes("/template/"))];
    const missing = Object.keys(rubricate).filter((name) => rubricate[name] === undefined);
    console.log(JSON.stringify({ atFirst, trainer, missing, isMore: loaded() > atFirst }));`;
  const { JEST_WORKER_ID: _, ...env } = process.env;
  const output = execFileSync(process.execPath, ["-e", program], { encoding: "utf8", env });
  expect(JSON.parse(output)).toEqual({ atFirst: 1, trainer: ["function", false], missing: [], isMore: true });
});

test("under Jest, which replaces modules between tests, all are loaded at once", () => {
  const program = `
    const rubricate = require(${JSON.stringify(join(root, "dist", "index.js"))});
    const loaded = Object.keys(require.cache).length;
    const before = rubricate.LanguageModel;
    for (const path of Object.keys(require.cache)) delete require.cache[path];
    for (const name of Object.keys(rubricate)) void rubricate[name];
    console.log(JSON.stringify([loaded > 50, Object.keys(require.cache).length, rubricate.LanguageModel === before]));`;
  const env = { ...process.env, JEST_WORKER_ID: "1" };
  const output = execFileSync(process.execPath, ["-e", program], { encoding: "utf8", env });
  expect(JSON.parse(output)).toEqual([true, 0, true]);
});

describe("what is packed", () => {
  /** Paths in the tarball. */
  let packed: Set<string>;
  beforeAll(() => {
    const output = execFileSync("npm", ["pack", "--dry-run", "--json", "--ignore-scripts"], {
      cwd: root,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    });
    const [{ files }] = JSON.parse(output) as [{ files: { path: string }[] }];
    packed = new Set(files.map(({ path }) => path));
  });

  test("every relative link of its pages leads to a file in it", () => {
    const pages = [...packed].filter((path) => path.endsWith(".md"));
    expect(pages).toEqual(expect.arrayContaining(["README.md", "docs/README.md", "lib/embedded/MODEL_CARD.md"]));
    const dead = pages.flatMap((page) => {
      const text = readFileSync(join(root, page), "utf8").replace(/^```[\s\S]*?^```$/gm, "");
      const links = [...text.matchAll(/\]\(([^)\s#]+)[^)]*\)/g)].map(([, link]) => link!);
      const targets = links.filter((link) => !/^\w+:/.test(link)).map((link) => normalize(join(dirname(page), link)));
      const isThere = (target: string) =>
        packed.has(target) || [...packed].some((path) => path.startsWith(`${target.replace(/\/$/, "")}/`));
      return targets.filter((target) => !isThere(target)).map((target) => `${page}: ${target}`);
    });
    expect(dead).toEqual([]);
  });

  test("it has all that a build from source reads", () => {
    const { core, addon } = JSON.parse(readFileSync(join(root, "native", "sources.json"), "utf8"));
    const needed = ["binding.gyp", "native/sources.json", "native/scripts/build_native.mjs", ...core, ...addon];
    expect(needed.filter((path) => !packed.has(path))).toEqual([]);
    const quoted = (path: string) =>
      [
        ...readFileSync(join(root, path), "utf8").matchAll(/^\s*#\s*(?:include|define RUBRICATE_KERNELS) "(.+)"$/gm),
      ].map(([, name]) => `native/${name}`);
    const included = new Set<string>();
    const visit = (path: string) => {
      for (const next of existsSync(join(root, path)) ? quoted(path) : [])
        if (!included.has(next)) {
          included.add(next);
          visit(next);
        }
    };
    for (const path of [...core, ...addon]) visit(path);
    expect(included.size).toBeGreaterThan(100);
    expect([...included].filter((path) => !packed.has(path) && !path.endsWith("/napi.h"))).toEqual([]);
    expect(Object.keys(manifest.dependencies)).toContain("node-addon-api");
  });
});

describe("npm pack", () => {
  const machines: Record<string, number> = { x64: 62, arm64: 183 };
  const platforms: string[] = manifest.os.flatMap((os: string) => manifest.cpu.map((cpu: string) => `${os}-${cpu}`));
  const files = [...platforms.map((platform) => `${platform}/rubricate.glibc.node`), "linux-x64/librubricate_cuda.so"];

  /** A folder of prebuilt libraries: headers of ELF files with a version. */
  function prebuilds(name: string, change: (file: string) => { version?: string; machine?: number } | null) {
    const made = join(folder, name);
    mkdirSync(made);
    for (const file of files) {
      const changed = change(file);
      if (changed === null) continue;
      const header = Buffer.alloc(64);
      header.write("\x7fELF", "latin1");
      header.writeUInt16LE(changed.machine ?? machines[/-(\w+)\//.exec(file)![1]!]!, 18);
      mkdirSync(dirname(join(made, file)), { recursive: true });
      writeFileSync(
        join(made, file),
        Buffer.concat([header, Buffer.from(`\0${changed.version ?? manifest.version}\0`)]),
      );
    }
    return made;
  }
  const prepack = (path: string) =>
    spawnSync("sh", ["-c", `${manifest.scripts.prepack} "${path}"`], { cwd: root, encoding: "utf8" });

  test("is allowed with every addon and the CUDA plug-in", () => {
    expect(prepack(prebuilds("complete", () => ({})))).toMatchObject({ status: 0, stderr: "" });
  });

  test.each(files)("is refused without %s, and with one of another version or processor", (file) => {
    const name = file.replaceAll("/", "-");
    for (const [what, change, reason] of [
      ["missing", null, "there is none: run npm run"],
      ["old", { version: "0.0.9" }, `it was not built from version ${manifest.version}`],
      ["other", { machine: 3 }, "it is not a library for"],
    ] as const) {
      const { status, stderr } = prepack(prebuilds(`${what}-${name}`, (made) => (made === file ? change : {})));
      expect(status).toBe(1);
      expect(stderr).toContain(`Expected prebuilds/${file} for the tarball but ${reason}`);
      expect(stderr.match(/Expected/g)).toHaveLength(1);
    }
  });

  test("is refused if there are no prebuilds at all", () => {
    const { status, stderr } = prepack(join(folder, "nothing"));
    expect([status, stderr.match(/Expected prebuilds/g)?.length]).toEqual([1, files.length]);
  });
});

describe("platforms", () => {
  test("those of package.json are those of the messages", () => {
    expect([manifest.os, manifest.libc]).toEqual([["linux"], ["glibc"]]);
    const supports = (os: string, cpu: string) => describePlatform(os, cpu, "2.36").supported;
    expect(["x64", "arm64", "ia32", "riscv64"].filter((cpu) => supports("linux", cpu))).toEqual(manifest.cpu);
    expect(prebuiltFor).toBe(`Linux on ${manifest.cpu.join(" and ")} with glibc 2.28 or later`);
    expect(supports("darwin", "x64")).toBe(false);
  });

  test.each([
    ["linux", "x64", "2.36", "linux x64, glibc 2.36", true],
    ["linux", "x64", undefined, "linux x64, a C library other than glibc, such as musl", false],
    ["linux", "arm64", "2.28", "linux arm64, glibc 2.28", true],
    ["linux", "s390x", "2.36", "linux s390x, glibc 2.36", false],
    ["darwin", "arm64", undefined, "darwin arm64", false],
  ])("%s %s with glibc %s", (os, cpu, glibc, text, supported) => {
    expect(describePlatform(os, cpu, glibc)).toEqual({ text, supported });
  });

  test("an addon that is not there gives the platform, what is supported, and the command", () => {
    const program = `
      require("${join(root, "test", "runtime", "typescript.cjs")}");
      try { require("${join(root, "lib", "native.ts")}").native(); } catch (error) { console.log(error.code, error.message); }`;
    const env = { ...process.env, RUBRICATE_PREBUILD: join(folder, "empty") };
    const said = execFileSync(process.execPath, ["-e", program], { encoding: "utf8", env });
    expect(said).toContain(`ERR_NATIVE_LOAD The native addon of rubricate could not be loaded on ${process.platform} `);
    expect(said).toContain(`${process.arch}, glibc `);
    expect(said).toContain(`No native build was found`);
    expect(said).toContain(`Prebuilt addons are for ${prebuiltFor}. To build one, run "npm run build" in ${root};`);
  });
});
