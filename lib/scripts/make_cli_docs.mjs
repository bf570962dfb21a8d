// Writes what `rubricate COMMAND --help` prints into docs/cli.md, from dist/. A test compares the two.
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const require = createRequire(import.meta.url);
const { commands } = require(join(root, "dist", "cli", "main.js"));
const { commandHelp } = require(join(root, "dist", "cli", "help.js"));
const page = join(root, "docs", "cli.md");
const columns = 100;

let text = readFileSync(page, "utf8");
for (const command of commands) {
  const block = new RegExp(`(^### ${command.name}\\n\\n\`\`\`text\\n)[\\s\\S]*?(\\n\`\`\`$)`, "m");
  if (!block.test(text)) throw new Error(`docs/cli.md has no section with the help of ${command.name}`);
  text = text.replace(block, (_, before, after) => `${before}${commandHelp(command, columns)}${after}`);
}
writeFileSync(page, text);
