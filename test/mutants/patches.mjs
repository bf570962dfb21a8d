import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const folder = dirname(fileURLToPath(import.meta.url));

/** The mutants of this folder, by name. */
export function readMutants() {
  const names = readdirSync(folder).filter((name) => name.endsWith(".patch"));
  return names.sort().map((file) => {
    const path = join(folder, file);
    const text = readFileSync(path, "utf8");
    const [what, second] = text.split("\n", 2);
    const nearest = /^Nearest: (native|jest) (\S+)$/.exec(second);
    if (!nearest) throw new Error(`Expected "Nearest: native|jest ..." in the second line of ${file}`);
    return {
      name: file.slice(0, -".patch".length),
      path,
      what,
      nearest: { kind: nearest[1], select: nearest[2].split(",") },
      /** Whether the addon has to be built anew. */
      isNative: /^\+\+\+ b\/native\//m.test(text),
    };
  });
}
