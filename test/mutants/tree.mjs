import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const testMs = 15 * 60_000;
const buildMs = 60 * 60_000;
const addonPath = join("build", "Release", "rubricate.node");

/** What builds run with: ccache where it is installed, told to take this folder's files for those of the last one's. */
function buildEnvironment(folder) {
  const { status } = spawnSync("ccache", ["--version"], { stdio: "ignore" });
  if (status !== 0) return {};
  return { CMAKE_CXX_COMPILER_LAUNCHER: "ccache", CCACHE_BASEDIR: folder, CCACHE_NOHASHDIR: "1" };
}

/**
 * A copy of the last commit in which patches are tried. The addon and the C++ tests are built in one folder, from the same
 * objects; it stays, so that each build does only what changed.
 */
export class Tree {
  #folder = mkdtempSync(join(tmpdir(), "rubricate-mutants-"));
  /** Parts that were seen to pass without a patch. */
  #good = new Set();
  /** Whether build/ holds the addon of the unpatched sources. */
  #addonIsClean = false;
  /** Whether the checkout's addon will do where no C++ is patched. */
  #borrowsAddon = false;
  /** Whether dist/ was built whole. */
  #hasDeclarations = false;
  #environment = buildEnvironment(this.#folder);

  constructor() {
    /** The commit of which this is a copy. */
    this.commit = this.#must("git", ["rev-parse", "HEAD"], root).trim();
    const archive = join(this.#folder, "..", `${this.#folder.split("/").at(-1)}.tar`);
    this.#must("git", ["archive", "--format=tar", `--output=${archive}`, this.commit], root);
    this.#must("tar", ["-xf", archive, "-C", this.#folder], root);
    rmSync(archive);
    symlinkSync(join(root, "node_modules"), join(this.#folder, "node_modules"));
    this.#must("git", ["init", "--quiet"], this.#folder); // so that git apply works on this folder alone
  }

  /** The folder of the commit's patches: those of the checkout may change while they are tried. */
  get patches() {
    return join(this.#folder, "test", "mutants");
  }

  /** Takes the checkout's addon, if there is one, for a run in which no patch touches C++, so that nothing need be built. */
  borrowAddon() {
    this.#borrowsAddon = existsSync(join(root, addonPath));
  }

  remove() {
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** @returns {boolean} whether the patch fits; one line of context is enough, at any place */
  apply(patch) {
    return this.#run("git", ["apply", "-C1", "--recount", patch]).status === 0;
  }

  restore(patch) {
    this.#run("git", ["apply", "-C1", "--recount", "--reverse", patch]);
  }

  /** @returns {string | undefined} the test that fails without any patch: such a run would prove nothing */
  failsUnpatched(part) {
    const name = JSON.stringify(part);
    if (this.#good.has(name)) return undefined;
    const { failed } = this.test(part, false);
    if (!failed) this.#good.add(name);
    return failed;
  }

  /**
   * Builds what the tests need, and runs them.
   * @param {{kind: "native" | "arm64" | "cuda" | "jest", select: string[]}} part select: test files, none for all
   * @param {boolean} native whether C++ sources are patched
   * @returns {{built: boolean, failed?: string}} failed: the name of the first test that does
   */
  test({ kind, select }, native) {
    if (kind === "jest") return this.#jestTests(select, native);
    if (kind === "arm64") return this.#builtTests("test_native", select, "--target", "linux-arm64");
    // The scripts build in the addon's folder where there is one.
    const failed = existsSync(join(this.#folder, "build", "CMakeCache.txt")) ? undefined : this.#addon(true);
    return failed ? { built: false, failed } : this.#builtTests(kind === "cuda" ? "test_cuda" : "test_native", select);
  }

  #builtTests(name, files, ...target) {
    const script = `native/scripts/${name}.mjs`;
    const build = this.#build(script, ...target, "--count");
    if (build.status !== 0) return { built: false, failed: lastLine(build) };
    const only = files.length > 0 ? [`--source-file=${files.map((file) => `*${file}*`).join(",")}`] : [];
    const run = this.#run("node", [script, ...target, "--abort-after=1", "--no-colors=true", ...only]);
    if (run.status === 0) return { built: true };
    const cases = [...run.stdout.matchAll(/^TEST CASE: {2}(.*)$/gm)];
    return { built: true, failed: cases.at(-1)?.[1] ?? ended(run) };
  }

  #jestTests(files, native) {
    const built = this.#buildPackage(native);
    if (built) return { built: false, failed: built };
    const jest = join(root, "node_modules", "jest", "bin", "jest.js");
    // That each patch applies cannot hold where one has been applied: it would count as killed.
    const run = this.#run("node", [jest, "--bail", ...files, "--testPathIgnorePatterns=unit/mutants"]);
    if (run.status === 0) return { built: true };
    return { built: true, failed: /^ *● (.+)$/m.exec(run.stderr)?.[1] ?? ended(run) };
  }

  /** The addon, anew only where sources changed or did before, and dist/. @returns what failed, or undefined */
  #buildPackage(native) {
    if (native || !this.#addonIsClean) {
      const addon = this.#addon(native);
      if (addon) return addon;
      this.#addonIsClean = !native;
    }
    return this.#typescript();
  }

  /** dist/, checked the first time alone: a plausible bug has no type error, and checking takes most of the time. */
  #typescript() {
    const compiler = join(root, "node_modules", "typescript", "bin", "tsc");
    const options = ["-p", "tsconfig.build.json", "--declaration", "false", "--removeComments", "--noCheck"];
    const whole = () => this.#run("npm", ["run", "--silent", "build:ts"]);
    const emitted = this.#hasDeclarations ? this.#run("node", [compiler, ...options]) : whole();
    if (emitted.status !== 0) return lastLine(emitted);
    if (this.#hasDeclarations) {
      const finished = this.#run("node", [join("native", "scripts", "finish_dist.mjs")]);
      if (finished.status !== 0) return lastLine(finished);
    }
    this.#hasDeclarations = true;
    return undefined;
  }

  #addon(native) {
    if (!native && this.#borrowsAddon) {
      mkdirSync(join(this.#folder, "build", "Release"), { recursive: true });
      cpSync(join(root, addonPath), join(this.#folder, addonPath));
      return undefined;
    }
    const build = this.#build("native/scripts/build_native.mjs");
    return build.status === 0 ? undefined : lastLine(build);
  }

  #build(script, ...args) {
    return this.#run("node", [script, ...args], { environment: this.#environment, timeout: buildMs });
  }

  #run(command, args, { cwd = this.#folder, environment = {}, timeout = testMs } = {}) {
    return spawnSync(command, args, {
      cwd,
      env: { ...process.env, ...environment },
      encoding: "utf8",
      timeout,
      maxBuffer: 1 << 28,
      killSignal: "SIGKILL",
    });
  }

  #must(command, args, cwd) {
    const run = this.#run(command, args, { cwd });
    if (run.status !== 0) throw new Error(`${command} ${args.join(" ")}: ${run.error?.message ?? run.stderr}`);
    return run.stdout;
  }
}

function ended({ status, signal }) {
  return signal ? `ended by ${signal}` : `exit status ${status}`;
}

function lastLine({ stdout, stderr, ...end }) {
  const lines = `${stdout}\n${stderr}`.split("\n").filter((line) => /error|Error/.test(line));
  return lines[0]?.trim() ?? ended(end);
}
