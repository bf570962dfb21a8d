/** Which folders a model's or an adapter's files are in: by the folders themselves, not by their names, which may be links. */
import { realpath, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import {
  adapterConfigFile,
  adapterTensorFile,
  companionFiles,
  indexFile,
  shardName,
  templatesFolder,
  weightsFile,
} from "./model_folder";
import { entriesOf } from "./operations";

/** Names of files, and of a folder of files, that are read. */
interface ReadNames {
  readonly isFile: (name: string) => boolean;
  readonly folder?: string;
}

const modelNames: ReadNames = {
  isFile: (name) =>
    Object.hasOwn(companionFiles, name) || [weightsFile, indexFile].includes(name) || shardName.test(name),
  folder: templatesFolder,
};

const adapterNames: ReadNames = { isFile: (name) => [adapterConfigFile, adapterTensorFile].includes(name) };

/** A folder's own path, and those of the folders that its files are linked from. None if it does not exist. */
async function foldersOf(dir: string, { isFile, folder }: ReadNames): Promise<Set<string>> {
  const folders = new Set<string>();
  const real = async (path: string) => realpath(path).catch(() => undefined); // loading reports what is missing
  const own = await real(dir);
  if (own === undefined) return folders;
  folders.add(own);
  for (const name of await entriesOf(own).catch(() => [])) {
    const path = isFile(name) || name === folder ? await real(join(own, name)) : undefined;
    if (path !== undefined) folders.add(name === folder ? path : dirname(path));
  }
  return folders;
}

/** The folders with a model's files: its own, and those that its files are linked from. */
export const modelFolders = (dir: string): Promise<Set<string>> => foldersOf(dir, modelNames);

/** The folders with an adapter's files: its own, and those that its files are linked from. */
export const adapterFolders = (dir: string): Promise<Set<string>> => foldersOf(dir, adapterNames);

/** Identifies a folder; undefined if there is none. */
export async function folderId(path: string): Promise<string | undefined> {
  const found = await stat(path, { bigint: true }).catch(() => undefined);
  return found?.isDirectory() ? `${found.dev} ${found.ino}` : undefined;
}

/** Whether a folder is one of others. */
export async function isOneOf(path: string, folders: Iterable<string>): Promise<boolean> {
  const id = await folderId(path);
  if (id === undefined) return false;
  for (const folder of folders) if ((await folderId(folder)) === id) return true;
  return false;
}
