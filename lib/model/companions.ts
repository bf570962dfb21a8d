/** Companions: the files of a model's folder that a saved model keeps unchanged, i.e. all except the weights. */
import { lstat, realpath } from "node:fs/promises";
import { dirname, join, sep } from "node:path";
import { RubricateError } from "../errors";
import type { FileContents } from "../files/atomic";
import {
  adapterConfigFile,
  adapterPickle,
  adapterTensorFile,
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

/** Path of a file in a Hugging Face cache; its model folders consist of links to such files. */
const cachedFile = /[\\/]models--[^\\/]+[\\/]blobs[\\/](?:[0-9a-f]{40}|[0-9a-f]{64})$/;

/** A companion: its name within the folder, which may contain one folder, and the limit of its bytes. */
interface Companion {
  readonly name: string;
  readonly limit: number;
}

/**
 * Reads the companions in a folder.
 * @throws RubricateError ERR_FILE as in `requireCompanions`, and if one cannot be read
 */
export async function readCompanions(source: string): Promise<FileContents[]> {
  const files: FileContents[] = [];
  for (const { name, limit } of await requireCompanions(source))
    files.push({ name, data: await readBytes(join(source, name), limit) });
  return files;
}

/**
 * Finds the companions in a folder. A link out of the folder could copy an unrelated file, perhaps a secret, into a folder
 * meant for publication, so only links into a Hugging Face cache are followed.
 * @throws RubricateError ERR_FILE naming the link and its target
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
          "replace it with a copy of the file",
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

/** Names of a folder's named chat templates, within the folder. */
async function templatesIn(folder: string): Promise<string[]> {
  const path = join(folder, templatesFolder);
  if (!(await present(path))) return [];
  const names = await entriesOf(path).catch((cause) => Promise.reject(cannotRead(path, cause)));
  return names.filter((name) => templateName.test(name)).map((name) => `${templatesFolder}/${name}`);
}

/**
 * Existing files of a folder that the loader would read in addition to or instead of the files that a save writes, and those
 * of an adapter, which transformers would apply to the new weights.
 * @param written names of these
 * @returns names of files; the folder of templates if that is a link
 */
export async function staleFiles(folder: string, written: readonly string[]): Promise<string[]> {
  const others = [weightsFile, indexFile, adapterConfigFile, adapterTensorFile, adapterPickle];
  const isRead = (name: string) => Object.hasOwn(companionFiles, name) || others.includes(name);
  const stale = (await entriesOf(folder)).filter((name) => isRead(name) || shardName.test(name));
  const templates = await lstat(join(folder, templatesFolder)).catch(() => undefined);
  if (templates?.isSymbolicLink()) stale.push(templatesFolder);
  else if (templates?.isDirectory()) stale.push(...(await templatesIn(folder)));
  return stale.filter((name) => !written.includes(name));
}
