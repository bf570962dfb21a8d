// Builds for another processor with Debian's cross compilers, and runs the result under qemu's user mode.
import { join } from "node:path";
import { generator, jobs, root, run, works } from "./commands.mjs";

/** By the name of the folder in prebuilds/. `system`: the folder of the processor's libraries, and the prefix of its tools. */
const targets = {
  "linux-arm64": { processor: "aarch64", system: "aarch64-linux-gnu", packages: "g++-aarch64-linux-gnu and qemu-user" },
};

function targetOf(name) {
  if (targets[name]) return targets[name];
  console.error(`Expected ${Object.keys(targets).join(" or ")} for --target but received ${name}`);
  process.exit(1);
}

const compilerOf = ({ system }) => `${system}-g++`;

export const crossFolder = (name) => join(root, `build-${name}`);
export const stripOf = (name) => `${targetOf(name).system}-strip`;
/** Whether the cross compiler is there. */
export const canBuildFor = (name) => works(compilerOf(targetOf(name)));
/** The command that runs the target's programs. */
export const emulatorOf = (name) => {
  const { processor, system } = targetOf(name);
  return [`qemu-${processor}`, "-L", `/usr/${system}`];
};

/** Builds the addon (`rubricate`), the C++ tests (`rubricate_tests`) or both. @returns the folder of the build */
export function buildFor(name, built = ["rubricate"]) {
  const target = targetOf(name);
  const folder = crossFolder(name);
  if (!works("cmake") || !canBuildFor(name)) {
    console.error(`A build for ${name} needs cmake and ${compilerOf(target)} (Debian: ${target.packages}).`);
    process.exit(1);
  }
  run("cmake", [
    ...["-S", root, "-B", folder, ...generator(), "-DRUBRICATE_TESTS=ON"],
    `-DRUBRICATE_TEST_SOURCES=${process.env.RUBRICATE_TEST_SOURCES ?? ""}`,
    ...["-DCMAKE_SYSTEM_NAME=Linux", `-DCMAKE_SYSTEM_PROCESSOR=${target.processor}`],
    `-DCMAKE_CXX_COMPILER=${compilerOf(target)}`,
    `-DCMAKE_JS_INC=${join(root, "node_modules", "node-api-headers", "include")}`,
  ]);
  run("cmake", ["--build", folder, "--parallel", jobs, "--target", ...built]);
  return folder;
}

/** The value of --target in a script's arguments, and the other arguments. */
export function targetOption(args) {
  const at = args.indexOf("--target");
  return at < 0 ? { rest: args } : { target: args[at + 1] ?? "nothing", rest: args.toSpliced(at, 2) };
}
