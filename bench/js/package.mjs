/** The built package: its public names, and the native core's handles for benchmarks below the public API. */
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

/** A module of the built package, by its path in dist/. */
export const built = (path) => require(join(dist, path));

export const rubricate = built("index.js");
export const native = built("native.js").native();
