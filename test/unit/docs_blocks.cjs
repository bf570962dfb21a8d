// Programs and commands in Markdown: the blocks marked "runnable", as in ```js runnable. Used by docs.test.ts.

/** @returns {{ language: string, text: string }[]} the runnable blocks of a Markdown text, in order */
function runnableBlocks(markdown) {
  return [...markdown.matchAll(/^```(\w+) runnable\n([\s\S]*?)^```$/gm)].map(([, language, text]) => ({
    language,
    text,
  }));
}

/** The same ES module as a CommonJS program: its imports by require, the rest in an async function. */
function asCommonJs(program) {
  const imports = [];
  const body = program.replace(/^import (\{[^}]*\}|\w+) from ("[^"]+");\n/gm, (_, names, module) => {
    imports.push(`const ${names} = require(${module});`);
    return "";
  });
  return `${imports.join("\n")}\n(async () => {\n${body}})();\n`;
}

module.exports = { runnableBlocks, asCommonJs };
