// npm's "prepare": in a checkout, builds the addon and dist/ after `npm ci`. npm does not run it for an installation from
// the registry; for a git dependency, or without the development dependencies, it does nothing.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "./build_native.mjs";

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const has = (path) => existsSync(join(root, path));

if (!has("lib/index.ts") || !has("node_modules/typescript")) process.exit(0);
build();
const { status } = spawnSync("npm", ["run", "--silent", "build:ts"], {
  cwd: root,
  stdio: "inherit",
  shell: process.platform === "win32",
});
process.exit(status ?? 1);
