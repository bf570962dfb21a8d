// Writes docs/api/ from the declarations and doc comments of the exports of lib/index.ts; with --check, reports whether it is
// up to date (status 1 if not). typedoc needs the compiler's JavaScript interface, which TypeScript 7 does not have.
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  bodyOf,
  isHidden,
  nameOf,
  optionsFile,
  statements,
  withPlainArrays,
  withPlainOptions,
} from "./declarations.mjs";
import { unexportedTypes } from "./public_types.mjs";

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const target = join(root, "docs", "api");

/** Pages by the folder or file of lib/ that a name comes from, in the order of the index. */
const pages = {
  model: "Models: loading, logits, saving",
  generate: "Generation",
  generators: "Generators",
  tokenizer: "Tokenizers",
  adapter: "Adapters and their methods",
  serve: "Serving: the engine and its adapters",
  data: "Data sets",
  train: "Training and evaluation",
  metrics: "Scores of generated texts",
  tensor: "Tensors, the tape and the ops",
  embedded: "The embedded model",
  notices: "Notices",
  errors: "Errors",
};

function emitDeclarations(folder) {
  const tsc = join(root, "node_modules", "typescript", "bin", "tsc");
  const emit = ["-p", join(root, "tsconfig.build.json"), "--emitDeclarationOnly", "--outDir", folder];
  const { status, stdout } = spawnSync(process.execPath, [tsc, ...emit], { encoding: "utf8" });
  if (status !== 0) throw new Error(`The TypeScript compiler failed:\n${stdout}`);
  const options = join(folder, optionsFile);
  writeFileSync(options, withPlainOptions(readFileSync(options, "utf8")));
}

/** Parts of a doc comment: the text, and the tags. */
function docParts(comment) {
  const text = comment.replace(/^[ \t]*\*? ?/gm, "").trim();
  const [prose, ...tagged] = text.split(/(?:^|\s)@(?=(?:param|returns|throws|internal)\b)/);
  const tags = tagged.map((part) => {
    const [, kind, rest] = /^(\w+)\s*([\s\S]*)$/.exec(part);
    return { kind, text: rest.trim() };
  });
  return { prose: prose.trim(), tags };
}

/** Escapes prose for Markdown, so that text that looks like HTML is shown unchanged. */
const escaped = (text) =>
  text
    .split(/(`[^`]*`)/)
    .map((part, at) => (at % 2 === 1 ? part : part.replace(/</g, "&lt;")))
    .join("");

const oneLine = (text) => text.replace(/\s+/g, " ");

function describeTags(tags, indent) {
  return tags.map(({ kind, text }) => {
    const bare = oneLine(text).replace(/^\{?RubricateError\}?\s*/, "");
    if (kind === "param") return `${indent}- \`${bare.split(" ")[0]}\`: ${escaped(bare.split(" ").slice(1).join(" "))}`;
    return `${indent}- ${kind === "returns" ? "Returns" : "Throws"}: ${escaped(bare)}`;
  });
}

/** A member as a list entry. */
function describeMember({ doc, code }) {
  const signature = oneLine(code.replace(/\/\*[\s\S]*?\*\//g, "")).replace(/\{ (.*?); \}/g, "{ $1 }");
  const { prose, tags } = docParts(doc);
  const lines = [`- \`${signature}\`${prose ? `  ` : ""}`];
  if (prose)
    lines.push(
      ...escaped(prose)
        .split("\n")
        .map((line) => `  ${line}`),
    );
  return [...lines, ...describeTags(tags, "  ")].join("\n");
}

/** `export declare class X {` and the like, without the words that every declaration has. */
const headOf = (code) => code.replace(/^export (declare )?/, "");

/** Members of the options' own interface, which is not public itself. */
const inherited = (folder, name) => statements(bodyOf(findDeclaration(folder, "train/option_table", name).code));

function describeDeclaration(folder, name, { doc, code }) {
  const { prose, tags } = docParts(doc);
  const lines = [`## ${name}`, ""];
  const hasMembers = /^export (declare class|interface|declare const \w+: \{)/.test(code);
  const head = headOf(hasMembers ? code.slice(0, code.indexOf("{")) : code);
  const isOptions = hasMembers && head.includes(" extends TrainingOptions");
  const signature = hasMembers ? head.replace(" extends TrainingOptions", "").replace(/:?\s*$/, "") : head;
  lines.push("```ts", signature, "```", "");
  if (prose) lines.push(escaped(prose), "");
  const details = describeTags(tags, "");
  if (details.length > 0) lines.push(...details, "");
  if (hasMembers) {
    const all = [...statements(bodyOf(code)), ...(isOptions ? inherited(folder, "TrainingOptions") : [])];
    const members = all.filter((member) => !isHidden(member));
    lines.push(...members.map(describeMember), "");
  }
  return lines.join("\n");
}

/** The exports of index.d.ts: [name, module] in order. */
function exportsOf(index) {
  const found = [];
  for (const [, names, module] of index.matchAll(/export (?:type )?\{([^}]*)\} from "(?:\.\/)?([^"]+)"/g))
    for (const name of names.split(",")) {
      const bare = name.trim().replace(/^type /, "");
      if (bare !== "") found.push([bare, module]);
    }
  return found;
}

/** Finds the declaration of a name in a module or in the modules that it re-exports from. */
function findDeclaration(folder, module, name) {
  const tried = [join(folder, `${module}.d.ts`), join(folder, module, "index.d.ts")];
  for (const path of tried) {
    let text;
    try {
      text = readFileSync(path, "utf8");
    } catch {
      continue;
    }
    for (const statement of statements(withPlainArrays(text))) if (nameOf(statement.code) === name) return statement;
    for (const [from, origin] of exportsOf(text))
      if (from === name) return findDeclaration(dirname(path), origin, name);
  }
  throw new Error(`No declaration of ${name} in ${module}`);
}

/** Every page of docs/api by file name. */
function makePages(folder) {
  const notice = "<!-- Made by `npm run docs` from the doc comments in lib/: change those. -->\n";
  const sections = new Map(Object.keys(pages).map((page) => [page, []]));
  const declarations = [];
  for (const [name, module] of exportsOf(readFileSync(join(folder, "index.d.ts"), "utf8"))) {
    const page = sections.get(module.split("/")[0]);
    if (!page) throw new Error(`No page for ${name} of ${module}: add one to lib/scripts/make_api_docs.mjs`);
    const declaration = findDeclaration(folder, module, name);
    declarations.push([name, declaration.code]);
    page.push({ name, text: describeDeclaration(folder, name, declaration) });
  }
  const unexported = unexportedTypes(declarations);
  if (unexported.length > 0) throw new Error(`Expected lib/index.ts to export the types: ${unexported.join(", ")}`);
  const files = new Map();
  const index = [notice, "# API", "", 'Everything that `import ... from "rubricate"` gives.', ""];
  for (const [page, title] of Object.entries(pages)) {
    const entries = sections.get(page);
    files.set(`${page}.md`, `${notice}\n# ${title}\n\n${entries.map(({ text }) => text).join("\n")}`.trimEnd());
    const links = entries.map(({ name }) => `[${name}](${page}.md#${name.toLowerCase()})`).join(", ");
    index.push(`- [${title}](${page}.md): ${links}`);
  }
  files.set("README.md", index.join("\n"));
  return files;
}

function isCurrent(files) {
  let names = [];
  try {
    names = readdirSync(target);
  } catch {}
  const differs = (name) =>
    !names.includes(name) || readFileSync(join(target, name), "utf8") !== `${files.get(name)}\n`;
  const wrong = [...[...files.keys()].filter(differs), ...names.filter((name) => !files.has(name))];
  for (const name of wrong) console.error(`docs/api/${name} is not up to date: run npm run docs`);
  return wrong.length === 0;
}

const folder = mkdtempSync(join(tmpdir(), "rubricate-api-"));
try {
  emitDeclarations(folder);
  const files = makePages(folder);
  if (process.argv.includes("--check")) {
    if (!isCurrent(files)) process.exitCode = 1;
  } else {
    rmSync(target, { recursive: true, force: true });
    mkdirSync(target, { recursive: true });
    for (const [name, text] of files) writeFileSync(join(target, name), `${text}\n`);
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
