// Checks that the folders of native/ depend downwards only: that each file includes files of its own folder or of a
// lower one. `npm run lint` runs it.
//   node native/scripts/check_layers.mjs [CHECKOUT]
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";

/**
 * The folders of native/, from the top down: the only definition of their order. ARCHITECTURE.md draws it, and the script
 * compares the two.
 */
export const layers = [
  "binding",
  "serve",
  "train",
  "model",
  "adapter",
  "optimizer",
  "architecture",
  "ops",
  "autograd",
  "runtime",
  "files",
  "tensor",
  "device",
  "base",
];

/** Tests, named *_test.cc, follow the order too, and may also include the tests' shared files. */
const testFolder = "tests";
/** Outside the layers: third-party headers, which all of native/ may use, and scripts. */
const outside = new Set(["third_party", "scripts"]);
const librariesOfTests = "doctest";

const sources = /\.(cc|h|inl|cu|cuh)$/;
const isTest = (file) => file.endsWith("_test.cc") || file.startsWith(`${testFolder}/`);

function filesIn(folder) {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && sources.test(entry.name))
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)).replaceAll("\\", "/"))
    .filter((file) => !outside.has(file.split("/")[0]))
    .sort();
}

const rankOf = (folder) => layers.indexOf(folder);

/**
 * The files of native/ that a text includes, each with its line; also kernels, which for_each_target.h includes. An
 * include in angle brackets is a system header, unless it begins with one of the folders.
 */
function includesIn(text) {
  const pattern = /^[ \t]*#[ \t]*(?:include|define[ \t]+RUBRICATE_KERNELS)[ \t]*(["<])([^">]+)[">]/;
  return text.split("\n").flatMap((line, index) => {
    const [, mark, target] = pattern.exec(line) ?? [];
    if (target === undefined) return [];
    const folder = target.split("/")[0];
    const ours = mark === '"' || rankOf(folder) !== -1 || folder === testFolder;
    return ours ? [{ line: index + 1, target }] : [];
  });
}

/** Why a file of the folder `from` may not include `to`; undefined if it may. */
function faultOf(file, from, to) {
  if (from === testFolder || from === to) return undefined;
  if (to === testFolder) return isTest(file) ? undefined : `only tests may include ${testFolder}/`;
  if (to === librariesOfTests) return isTest(file) ? undefined : `only tests may include ${librariesOfTests}/`;
  if (rankOf(to) === -1) return `${to}/ is missing in the order of native/scripts/check_layers.mjs`;
  if (rankOf(to) > rankOf(from)) return undefined;
  return `${from}/ may not include ${to}/, which is above it`;
}

/** Every include of native/ that is not of a lower layer, as one line of text each. */
export function upwardIncludes(checkout) {
  const native = join(checkout, "native");
  const files = filesIn(native);
  const known = new Set(files);
  const faults = [];
  for (const file of files) {
    const from = file.split("/")[0];
    if (from !== testFolder && rankOf(from) === -1) {
      faults.push(`native/${file}: ${from}/ is missing in the order of native/scripts/check_layers.mjs`);
      continue;
    }
    for (const { line, target } of includesIn(readFileSync(join(native, file), "utf8"))) {
      // First relative to the file, as the compiler does; else relative to native/.
      const beside = join(dirname(file), target).replaceAll("\\", "/");
      const path = known.has(beside) ? beside : target;
      const fault = path.includes("/") ? faultOf(file, from, path.split("/")[0]) : undefined;
      if (fault) faults.push(`native/${file}:${line}: includes "${target}": ${fault}`);
    }
  }
  return faults;
}

/** The folders that ARCHITECTURE.md draws, from the top down. */
export function drawnLayers(text) {
  return [...text.matchAll(/^ {4}native\/(\w+) {2,}\S/gm)].map((match) => match[1]);
}

/** How the drawing in ARCHITECTURE.md differs from the order above; undefined if it does not. */
export function drawingFault(checkout) {
  const drawn = drawnLayers(readFileSync(join(checkout, "ARCHITECTURE.md"), "utf8"));
  const shown = (folders) => folders.join(" > ");
  if (shown(drawn) === shown(layers)) return undefined;
  return `ARCHITECTURE.md: expected it to draw ${shown(layers)} but it draws ${shown(drawn)}`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const checkout = resolve(process.argv[2] ?? join(dirname(fileURLToPath(import.meta.url)), "..", ".."));
  const drawing = drawingFault(checkout);
  const faults = [...upwardIncludes(checkout), ...(drawing ? [drawing] : [])];
  for (const fault of faults) console.error(fault);
  process.exit(faults.length > 0 ? 1 : 0);
}
