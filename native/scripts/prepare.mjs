// npm's "prepare": in a checkout, builds the addon and dist/ after `npm ci`. npm does not run it for an installation from
// the registry. For a dependency from git npm installs the development dependencies in a clone, runs this script, and packs the
// clone; the addon then has to be in prebuilds/, because build/ is not packed.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { build } from "./build_native.mjs";
import { root } from "./commands.mjs";
import { addonName, stage, thisPlatform } from "./prebuilds.mjs";

const has = (...path) => existsSync(join(root, ...path));

if (!has("lib", "index.ts")) process.exit(0); // an installed package
if (!has("node_modules", "typescript")) {
  console.error("The addon and dist/ of rubricate were not built: that needs the development dependencies.");
  process.exit(0);
}
build();
// npm sets this variable when it is about to pack the folder. `npm pack` runs prepack first, which requires all prebuilds.
const packs = process.env.npm_package_resolved !== undefined;
if (packs && !has("prebuilds", thisPlatform, addonName()))
  stage(join(root, "build", "Release", "rubricate.node"), thisPlatform, addonName());
const { status } = spawnSync("npm", ["run", "--silent", "build:ts"], {
  cwd: root,
  stdio: "inherit",
  shell: process.platform === "win32",
});
process.exit(status ?? 1);
