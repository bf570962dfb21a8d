/** Folders that exist only if a write into them succeeds. */
import { lstat } from "node:fs/promises";
import { dirname } from "node:path";
import { fileOperations } from "./operations";

/** Runs a write into a folder. If it fails, the folders that it created are removed, if they are empty. */
export async function newFolderGuard(folder: string, write: () => Promise<void>): Promise<void> {
  const created: string[] = [];
  for (let path = folder; path !== dirname(path) && !(await exists(path)); path = dirname(path)) created.push(path);
  try {
    await write();
  } catch (error) {
    for (const path of created)
      await fileOperations()
        .removeEmpty(path)
        .catch(() => {});
    throw error;
  }
}

async function exists(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    () => false,
  );
}
