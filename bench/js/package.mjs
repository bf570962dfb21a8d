/** The built package: its public names, and the native core's handles where a benchmark goes below them. */
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const dist = join(root, "dist");

if (!existsSync(join(dist, "index.js"))) {
  console.error('The package is not built: run "npm run build" first.');
  process.exit(1);
}
const require = createRequire(import.meta.url);

export const rubricate = require(join(dist, "index.js"));
const { native: loadNative } = require(join(dist, "native.js"));
export const native = loadNative();
