// Completes dist/ after the TypeScript compiler: makes index.js load lazily, adds the ES module entry, the declarations of
// options and the embedded model's files, and sets the executable bit.
import { chmodSync, cpSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { optionsFile, withPlainArrays, withPlainOptions } from "../../lib/scripts/declarations.mjs";

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const dist = join(root, "dist");
const require = createRequire(import.meta.url);

/**
 * In a bundle of ES modules the first `require` of a CommonJS module throws an error of the bundler's, before any code of ours
 * runs. This module runs before. A bundle of another format has no `import.meta.url`; lib/package_root.ts notices that one.
 */
function writeBundleCheck() {
  const { bundledMessage } = require(join(dist, "package_root.js"));
  const lines = [
    'import { existsSync } from "node:fs";',
    'import { dirname, join } from "node:path";',
    'import { fileURLToPath } from "node:url";',
    "const own = import.meta.url;",
    'if (own && !existsSync(join(dirname(fileURLToPath(own)), "package_root.js")))',
    `  throw Object.assign(new Error(${JSON.stringify(bundledMessage(null))}), { code: "ERR_NATIVE_LOAD" });`,
  ];
  writeFileSync(join(dist, "not_bundled.mjs"), `${lines.join("\n")}\n`);
}

/**
 * `require("rubricate")` loads a module when one of its names is first used: a program that only trains needs half of them, and
 * the code of the others would take megabytes of its heap. An `import` reads all names, and so loads all. So does Jest: it
 * replaces its modules between tests, and what is loaded later would be another copy.
 */
function loadLazily() {
  const path = join(dist, "index.js");
  const calls = new Map();
  const withoutLoads = readFileSync(path, "utf8").replace(
    /^(?:var|const) (\w+) = (require\("[^"]+"\));\n/gm,
    (_, name, call) => {
      calls.set(name, call);
      return "";
    },
  );
  const modules = [...calls.keys()];
  const load = (module) => (calls.has(module) ? `(m${modules.indexOf(module)} ??= ${calls.get(module)})` : undefined);
  const lazy = withoutLoads.replace(/return (\w+)\.(\w+);/g, (_, module, name) => `return ${load(module)}.${name};`);
  if (calls.size === 0 || /undefined\.|_\d+\b/.test(lazy))
    throw new Error(`Expected "var NAME = require(...)" and getters in ${path}, as TypeScript writes them`);
  const variables = `let ${modules.map((_, at) => `m${at}`).join(", ")};`;
  const atOnce =
    "if (process.env.JEST_WORKER_ID !== undefined) for (const name of Object.keys(exports)) void exports[name];";
  writeFileSync(path, `${lazy.trimEnd()}\n${variables}\n${atOnce}\n`);
}

/** An ES module that re-exports the CommonJS module by name, so that there is one copy of every class. */
function writeEsModule() {
  const names = Object.keys(require(join(dist, "index.js"))).sort();
  const lines = names.map((name) => `export const ${name} = module.${name};`);
  writeFileSync(
    join(dist, "index.mjs"),
    `import "./not_bundled.mjs";\nimport module from "./index.js";\n${lines.join("\n")}\n`,
  );
  writeFileSync(join(dist, "index.d.mts"), 'export * from "./index.js";\n');
}

function copyEmbedded() {
  const from = join(root, "lib", "embedded", "default");
  const to = join(dist, "embedded", "default");
  rmSync(to, { recursive: true, force: true });
  if (existsSync(from)) cpSync(from, to, { recursive: true });
}

/** So that every editor shows their doc comments. */
function writeOptionsOut() {
  const path = join(dist, optionsFile);
  writeFileSync(path, withPlainOptions(readFileSync(path, "utf8")));
}

/** So that a user's TypeScript may be older than ours: from 5.4 on. */
function writeArraysPlain() {
  for (const name of readdirSync(dist, { recursive: true })) {
    if (!name.endsWith(".d.ts")) continue;
    const path = join(dist, name);
    const text = readFileSync(path, "utf8");
    const plain = withPlainArrays(text);
    if (plain !== text) writeFileSync(path, plain);
  }
}

function makeExecutable() {
  const main = join(dist, "cli", "main.js");
  if (!existsSync(main)) return;
  const text = readFileSync(main, "utf8");
  if (!text.startsWith("#!")) writeFileSync(main, `#!/usr/bin/env node\n${text}`);
  chmodSync(main, 0o755);
}

writeBundleCheck();
loadLazily();
writeEsModule();
writeOptionsOut();
writeArraysPlain();
copyEmbedded();
makeExecutable();
