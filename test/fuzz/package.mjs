/** The package under test, and the folder of the parity fixtures. */
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const rubricate = createRequire(import.meta.url)("../../dist");
export const parity = join(dirname(fileURLToPath(import.meta.url)), "..", "parity", "fixtures");
