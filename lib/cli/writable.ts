import { access, constants } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { withFileErrors } from "../files/atomic";

/** Checks before the work that a file of results can be written after it. @throws RubricateError ERR_FILE */
export async function requireFolderOf(file: string): Promise<void> {
  const folder = dirname(resolve(file));
  await withFileErrors(file, () => access(folder, constants.W_OK));
}
