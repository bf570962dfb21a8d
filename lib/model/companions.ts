/** The files of a model's folder that a saved model keeps as they are: all but the weights. */
import { lstat, realpath } from "node:fs/promises";
import { dirname, join, sep } from "node:path";
import { RubricateError } from "../errors";
import type { FileContents } from "../files/atomic";
import {
  companionFiles,
  indexFile,
  shardName,
  templateBytes,
  templateName,
  templatesFolder,
  weightsFile,
} from "../files/model_folder";
import { entriesOf } from "../files/operations";
import { cannotRead, present, readBytes } from "../files/read";

/** A file of a Hugging Face cache, whose model folders consist of links to such files. */
const cachedFile = /[\\/]models--[^\\/]+[\\/]blobs[\\/](?:[0-9a-f]{40}|[0-9a-f]{64})$/;

/** A companion: its name within the folder, which may have one folder in it, and the bytes that it may have. */
interface Companion {
  readonly name: string;
  readonly limit: number;
}

/**
 * Reads the companions in a folder.
 * @throws RubricateError ERR_FILE, as `requireCompanions`, and where one cannot be read
 */
export async function readCompanions(source: string): Promise<FileContents[]> {
  const files: FileContents[] = [];
  for (const { name, limit } of await requireCompanions(source))
    files.push({ name, data: await readBytes(join(source, name), limit) });
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
  for (const companion of await possibleCompanions(source)) {
    const path = join(source, companion.name);
    if (!(await present(path))) continue;
    const target = await real(path);
    if (!(dirname(target) + sep).startsWith((await real(source)) + sep) && !cachedFile.test(target))
      throw new RubricateError(
        "ERR_FILE",
        `Expected a file to copy at ${path} but it is a symbolic link out of the model's folder, to ${target}: ` +
          "put a copy of the file in its place",
      );
    found.push(companion);
  }
  return found;
}

async function possibleCompanions(source: string): Promise<Companion[]> {
  const files = Object.entries(companionFiles).map(([name, limit]) => ({ name, limit }));
  const templates = (await templatesIn(source)).map((name) => ({ name, limit: templateBytes }));
  return [...files, ...templates];
}

/** The named chat templates of a folder: their names within it. */
async function templatesIn(folder: string): Promise<string[]> {
  const path = join(folder, templatesFolder);
  if (!(await present(path))) return [];
  const names = await entriesOf(path).catch((cause) => Promise.reject(cannotRead(path, cause)));
  return names.filter((name) => templateName.test(name)).map((name) => `${templatesFolder}/${name}`);
}

/**
 * What the loader would take, of a folder that a model is saved into, beside or instead of the files that are written.
 * @param written names of these
 * @returns names of files; the folder of templates where that is a link
 */
export async function staleFiles(folder: string, written: readonly string[]): Promise<string[]> {
  const isRead = (name: string) => Object.hasOwn(companionFiles, name) || name === weightsFile || name === indexFile;
  const stale = (await entriesOf(folder)).filter((name) => isRead(name) || shardName.test(name));
  const templates = await lstat(join(folder, templatesFolder)).catch(() => undefined);
  if (templates?.isSymbolicLink()) stale.push(templatesFolder);
  else if (templates?.isDirectory()) stale.push(...(await templatesIn(folder)));
  return stale.filter((name) => !written.includes(name));
}
