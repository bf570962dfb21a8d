/**
 * outputDir/run.json names the run that an outputDir belongs to. A run that was killed before its first checkpoint may have
 * a `best` there, and one that was started with `overwrite` another run's results: its next start must know both.
 */
import { join } from "node:path";
import { removeFolder, replaceFile } from "../files/atomic";
import { isObject, readJson } from "../files/json";
import { present } from "../files/read";
import { native } from "../native";
import type { RunIdentity } from "./identity";
import { bestFolder, runFile } from "./output_links";

export interface RunRecord {
  readonly identity: RunIdentity;
  /** Whether the folder still has results of another run, which this one was told to overwrite. */
  readonly overwrites: boolean;
}

/** @returns undefined if there is none, or if it cannot be used */
export async function readRunFile(outputDir: string): Promise<RunRecord | undefined> {
  const document = await readJson(join(outputDir, runFile)).catch(() => undefined);
  if (!isObject(document) || document.format !== 1 || !isObject(document.identity)) return undefined;
  return { identity: document.identity as RunIdentity, overwrites: document.overwrites === true };
}

/** Writes it, unless it says the same already. @throws RubricateError ERR_FILE */
export async function writeRunFile(outputDir: string, { identity, overwrites }: RunRecord): Promise<void> {
  const before = await readRunFile(outputDir);
  if (before && JSON.stringify(before) === JSON.stringify({ identity, overwrites })) return;
  const document = { format: 1, rubricate: native().version, identity, overwrites };
  await replaceFile(join(outputDir, runFile), `${JSON.stringify(document, null, 2)}\n`);
}

/**
 * At the end of a run that overwrites: removes a `best` that it did not replace.
 * @throws RubricateError ERR_FILE
 */
export async function finishOverwriting(outputDir: string, identity: RunIdentity, hasBest: boolean): Promise<void> {
  const best = join(outputDir, bestFolder);
  if (!hasBest && (await present(best))) await removeFolder(best);
  await writeRunFile(outputDir, { identity, overwrites: false });
}
