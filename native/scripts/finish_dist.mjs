// Completes dist/ after the TypeScript compiler: adds the ES module entry, the declarations of options and the embedded
// model's files, and sets the executable bit.
import { chmodSync, cpSync, existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { optionsFile, withPlainOptions } from "../../lib/scripts/declarations.mjs";

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const dist = join(root, "dist");
const require = createRequire(import.meta.url);

/** An ES module that re-exports the CommonJS module by name, so that there is one copy of every class. */
function writeEsModule() {
  const names = Object.keys(require(join(dist, "index.js"))).sort();
  const lines = names.map((name) => `export const ${name} = module.${name};`);
  writeFileSync(join(dist, "index.mjs"), `import module from "./index.js";\n${lines.join("\n")}\n`);
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

function makeExecutable() {
  const main = join(dist, "cli", "main.js");
  if (!existsSync(main)) return;
  const text = readFileSync(main, "utf8");
  if (!text.startsWith("#!")) writeFileSync(main, `#!/usr/bin/env node\n${text}`);
  chmodSync(main, 0o755);
}

writeEsModule();
writeOptionsOut();
copyEmbedded();
makeExecutable();
