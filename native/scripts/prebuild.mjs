// Makes prebuilds/PLATFORM-ARCH/, which the package ships: the CMake build, stripped, under the file name that
// node-gyp-build expects (its README, "Prebuilds": the package's name, then the C library).
import { copyFileSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { buildWithCmake } from "./build_native.mjs";
import { root, run } from "./commands.mjs";

const glibc = process.report.getReport().header.glibcVersionRuntime !== undefined;
const folder = join(root, "prebuilds", `${process.platform}-${process.arch}`);
const addon = join(folder, `rubricate${process.platform === "linux" ? (glibc ? ".glibc" : ".musl") : ""}.node`);

buildWithCmake();
rmSync(join(root, "prebuilds"), { recursive: true, force: true });
mkdirSync(folder, { recursive: true });
copyFileSync(join(root, "build", "Release", "rubricate.node"), addon);
run("strip", process.platform === "darwin" ? ["-Sx", addon] : ["--strip-all", addon]);
