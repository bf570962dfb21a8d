// Makes prebuilds/PLATFORM-ARCH/, which the package ships: the CMake build, stripped, under the file name that
// node-gyp-build expects (its README, "Prebuilds": the package's name, then the C library).
import { copyFileSync, existsSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { buildWithCmake } from "./build_native.mjs";
import { root, run } from "./commands.mjs";

const glibc = process.report.getReport().header.glibcVersionRuntime !== undefined;
const folder = join(root, "prebuilds", `${process.platform}-${process.arch}`);
const libc = process.platform === "linux" ? (glibc ? ".glibc" : ".musl") : "";
/** Built files by the name that they get. */
const built = { [`rubricate${libc}.node`]: "rubricate.node", "librubricate_cuda.so": "librubricate_cuda.so" };

buildWithCmake();
rmSync(join(root, "prebuilds"), { recursive: true, force: true });
mkdirSync(folder, { recursive: true });
for (const [name, file] of Object.entries(built)) {
  const from = join(root, "build", "Release", file);
  if (file !== "rubricate.node" && !existsSync(from)) continue;
  const to = join(folder, name);
  copyFileSync(from, to);
  run("strip", process.platform === "darwin" ? ["-Sx", to] : ["--strip-all", to]);
}
