// Makes prebuilds/PLATFORM-ARCH/, which the package ships: the CMake build, stripped, under the name that node-gyp-build
// looks for. prebuildify moves the addon out of build/Release; it is copied back, so that a checkout goes on working.
import { spawnSync } from "node:child_process";
import { copyFileSync, readdirSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const scripts = dirname(fileURLToPath(import.meta.url));
const root = join(scripts, "..", "..");
const require = createRequire(join(root, "package.json"));

rmSync(join(root, "prebuilds"), { recursive: true, force: true });
const { status, error } = spawnSync(
  process.execPath,
  [
    require.resolve("prebuildify/bin.js"),
    "--napi",
    "--tag-libc",
    "--strip",
    "--node-gyp",
    join(scripts, "node_gyp_cmake.mjs"),
  ],
  { cwd: root, stdio: "inherit" },
);
if (error) throw error;
if (status !== 0) process.exit(status ?? 1);
const folder = join(root, "prebuilds", `${process.platform}-${process.arch}`);
const built = readdirSync(folder).filter((file) => file.endsWith(".node"));
if (built.length !== 1) throw new Error(`Expected one addon in ${folder} but found ${built.length}`);
copyFileSync(join(folder, built[0]), join(root, "build", "Release", "rubricate.node"));
