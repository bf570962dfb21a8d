/** The files of a model's folder that a saved model keeps as they are: all but the weights. */
import { realpath } from "node:fs/promises";
import { dirname, join, sep } from "node:path";
import { RubricateError } from "../errors";
import type { FileContents } from "../files/atomic";
import { cannotRead, present, readBytes } from "../files/read";
import { limits } from "../limits";

/** How many bytes each may have. */
const companions = {
  "config.json": limits.documentBytes,
  "generation_config.json": limits.documentBytes,
  "tokenizer.json": limits.tokenizerBytes,
  "tokenizer_config.json": limits.tokenizerConfigBytes,
  "special_tokens_map.json": limits.documentBytes,
  "chat_template.jinja": limits.documentBytes,
} as const;
type Companion = keyof typeof companions;

/** A file of a Hugging Face cache, whose model folders consist of links to such files. */
const cachedFile = /[\\/]models--[^\\/]+[\\/]blobs[\\/](?:[0-9a-f]{40}|[0-9a-f]{64})$/;

/**
 * Reads the companions in a folder.
 * @throws RubricateError ERR_FILE, as `requireCompanions`, and where one cannot be read
 */
export async function readCompanions(source: string): Promise<FileContents[]> {
  const files: FileContents[] = [];
  for (const name of await requireCompanions(source)) {
    files.push({ name, data: await readBytes(join(source, name), companions[name]) });
  }
  return files;
}

/**
 * Finds the companions in a folder. One that is a link out of the folder would put somebody else's file, perhaps a secret,
 * into a folder that is meant to be published; only links into a Hugging Face cache are followed.
 * @throws RubricateError ERR_FILE naming the link and where it leads
 */
export async function requireCompanions(source: string): Promise<Companion[]> {
  const found: Companion[] = [];
  const real = (path: string) => realpath(path).catch((cause) => Promise.reject(cannotRead(path, cause)));
  for (const name of Object.keys(companions) as Companion[]) {
    const path = join(source, name);
    if (!(await present(path))) continue;
    const target = await real(path);
    if (!(dirname(target) + sep).startsWith((await real(source)) + sep) && !cachedFile.test(target))
      throw new RubricateError(
        "ERR_FILE",
        `Expected a file to copy at ${path} but it is a symbolic link out of the model's folder, to ${target}: ` +
          "put a copy of the file in its place",
      );
    found.push(name);
  }
  return found;
}
