// What builds programs that use the package: older TypeScript compilers, and esbuild. Both come from the registry.
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** The oldest compiler that the package supports, and the last one before that of this checkout. */
const compilers = ["5.4", "5.9"];

/**
 * Compiles the programs, and with them the package's declarations: nothing skips them.
 * @param ours the compiler of this checkout
 */
export function checkTypes({ report, install, project, work, ours }) {
  const all = [["of this checkout", ours]];
  for (const version of compilers) {
    const folder = join(work, `typescript-${version}`);
    mkdirSync(folder);
    report(`TypeScript ${version} from npm`, () => {
      install(folder, `typescript@${version}`);
      all.push([version, join(folder, "node_modules", "typescript", "bin", "tsc")]);
    });
  }
  for (const [module, resolution] of [
    ["node16", "node16"],
    ["esnext", "bundler"],
  ]) {
    const compilerOptions = {
      strict: true,
      noEmit: true,
      skipLibCheck: false,
      target: "es2022",
      module,
      moduleResolution: resolution,
      types: ["node"],
      exactOptionalPropertyTypes: true,
      noUncheckedIndexedAccess: true,
    };
    const config = { compilerOptions, files: ["typed.mts", "readme.mts"] };
    writeFileSync(join(project, "tsconfig.json"), JSON.stringify(config));
    for (const [version, tsc] of all)
      report(`strict TypeScript ${version}, ${resolution} resolution`, () => {
        execFileSync(process.execPath, [tsc, "-p", project], { cwd: project, encoding: "utf8", stdio: "pipe" });
      });
  }
}

const program = `import { Tape } from "rubricate";
try {
  new Tape();
  console.log("works");
} catch (error) {
  console.log(error.code, error.message);
}
`;

/** A bundle that the package is in says how to keep it out; with the documented flag the program runs. */
export function checkEsbuild({ report, install, project, work }) {
  const folder = join(work, "esbuild");
  mkdirSync(folder);
  writeFileSync(join(project, "bundled.mjs"), program);
  report("esbuild from npm", () => {
    install(folder, "esbuild@0.28");
  });
  const esbuild = join(folder, "node_modules", "esbuild", "bin", "esbuild");
  const run = (command, ...args) => execFileSync(command, args, { cwd: project, encoding: "utf8", stdio: "pipe" });
  /** What the bundle prints, or what it ends with. */
  const outputOf = (format, ...flags) => {
    const file = join("out", `${flags.length > 0 ? "external" : "bundled"}.${format === "esm" ? "mjs" : "cjs"}`);
    const args = ["bundled.mjs", "--bundle", "--platform=node", `--format=${format}`, `--outfile=${file}`];
    run(process.execPath, esbuild, ...args, "--log-level=error", ...flags);
    try {
      return run(process.execPath, file);
    } catch ({ stderr }) {
      return stderr;
    }
  };
  for (const format of ["cjs", "esm"]) {
    report(`a bundle of esbuild --format=${format} names the flag that helps`, () => {
      const said = outputOf(format);
      return said.includes("ERR_NATIVE_LOAD") && said.includes("esbuild --external:rubricate;") ? undefined : said;
    });
    report(`esbuild --format=${format} --external:rubricate`, () => {
      const said = outputOf(format, "--external:rubricate");
      return said === "works\n" ? undefined : said;
    });
  }
}
