import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** The mutants of a folder, by name. */
export function readMutants(folder = dirname(fileURLToPath(import.meta.url))) {
  const names = readdirSync(folder).filter((name) => name.endsWith(".patch"));
  return names.sort().map((file) => {
    const path = join(folder, file);
    const text = readFileSync(path, "utf8");
    const [what, second] = text.split("\n", 2);
    const nearest = /^Nearest: (native|arm64|cuda|jest) (\S+)$/.exec(second);
    if (!nearest) throw new Error(`Expected "Nearest: native|arm64|cuda|jest ..." in the second line of ${file}`);
    return {
      name: file.slice(0, -".patch".length),
      path,
      what,
      nearest: { kind: nearest[1], select: nearest[2].split(",") },
      /** Whether the addon has to be built anew. */
      isNative: /^\+\+\+ b\/native\/(?!scripts\/)/m.test(text),
    };
  });
}

/** Whether a name fits a pattern, in which * stands for any characters. */
export function fits(name, pattern) {
  const parts = pattern.split("*").map((part) => part.replace(/[^\w-]/g, "\\$&"));
  return new RegExp(`^${parts.join(".*")}$`).test(name);
}

/** The i-th of n shares of a list: every n-th entry. @throws where the text is not i/n with 1 <= i <= n */
export function shareOf(list, text) {
  const [, i, n] = (/^(\d{1,4})\/(\d{1,4})$/.exec(text) ?? []).map(Number);
  if (!(i >= 1 && i <= n)) throw new Error(`Expected i/n with 1 <= i <= n for --shard but received ${text}`);
  return list.filter((_, at) => at % n === i - 1);
}
