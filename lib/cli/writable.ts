import { access, constants, stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { RubricateError } from "../errors";
import { withFileErrors } from "../files/atomic";
import { UsageError } from "./command";

/** Checks before the work that a file of results can be written after it. @throws RubricateError ERR_FILE */
export async function requireWritable(file: string): Promise<void> {
  const folder = dirname(resolve(file));
  await withFileErrors(file, () => access(folder, constants.W_OK));
  if ((await statusOf(file))?.isDirectory())
    throw new RubricateError("ERR_FILE", `Cannot write ${file}: it is a folder, expected the path of a file`);
}

/**
 * Checks that results do not replace what was read: neither the same path nor a link to it.
 * @param written the flag of the results
 * @param sources paths that are read, by their flags; undefined: not given
 * @throws UsageError
 */
export async function requireOther(
  file: string,
  written: string,
  sources: Readonly<Record<string, string | undefined>>,
): Promise<void> {
  const own = await statusOf(file);
  if (own === undefined) return;
  for (const [flag, path] of Object.entries(sources)) {
    if (path === undefined) continue;
    const other = await statusOf(path);
    if (other?.dev === own.dev && other.ino === own.ino)
      throw new UsageError(`Expected another file for ${written} than that of ${flag} (${path}) but received ${file}`);
  }
}

/** Of what is at the end of links; undefined: nothing is there, or it cannot be read, which reading or writing reports. */
const statusOf = (path: string) => stat(path, { bigint: true }).catch(() => undefined);
