/**
 * What an outputDir may have when a run begins. The model that is trained on must not be where the run writes, and the
 * results of another run are replaced only with `overwrite`.
 */
import { dirname, join } from "node:path";
import { RubricateError } from "../errors";
import { folderId, modelFolders } from "../files/folder_identity";
import { adapterConfigFile, adapterTensorFile, indexFile, weightsFile } from "../files/model_folder";
import { entriesOf } from "../files/operations";
import { present } from "../files/read";
import { readableFile } from "../files/read_together";
import { checkpointName, checkpointPath, checkpointSteps } from "./checkpoint";
import { bestFolder } from "./output_links";

export const ways = "choose another outputDir, or replace them with overwrite: true";

/**
 * The first result of a run that a folder has: a checkpoint, a best or a final adapter or model.
 * @throws RubricateError ERR_FILE
 */
export async function resultIn(outputDir: string): Promise<string | undefined> {
  const [step] = await checkpointSteps(outputDir);
  return step === undefined ? finalResultIn(outputDir) : checkpointPath(outputDir, step);
}

async function finalResultIn(outputDir: string): Promise<string | undefined> {
  for (const folder of [outputDir, join(outputDir, bestFolder)])
    for (const name of [adapterConfigFile, adapterTensorFile, "config.json", weightsFile, indexFile])
      if (await present(await readableFile(folder, name))) return join(folder, name);
  return undefined;
}

/**
 * For a run that resumes from no checkpoint.
 * @throws RubricateError ERR_CHECKPOINT if the folder has checkpoints, ERR_FILE if it has another result of a run
 */
export async function requireNoResults(outputDir: string): Promise<void> {
  if ((await folderId(outputDir)) === undefined) return; // the write reports what else is there
  const [step] = await checkpointSteps(outputDir);
  if (step !== undefined)
    throw new RubricateError(
      "ERR_CHECKPOINT",
      `Expected no checkpoints of an earlier run in ${outputDir} but found ${checkpointPath(outputDir, step)}; ` +
        `resume that run (resume: true), ${ways}`,
    );
  await requireNoFinalResult(outputDir);
}

/** The same, with checkpoints that cannot be used. @throws RubricateError ERR_FILE */
export async function requireNoFinalResult(outputDir: string): Promise<void> {
  const found = await finalResultIn(outputDir);
  if (found !== undefined)
    throw new RubricateError(
      "ERR_FILE",
      `Expected no results of another run in ${outputDir} but found ${found}, and no checkpoint of this run; ${ways}`,
    );
}

/**
 * Checks that the model that a run trains on is not where it writes: by the folders themselves, not by their names, which
 * may be links.
 * @throws RubricateError ERR_FILE
 */
export async function requireOutsideModel(outputDir: string, modelDir: string): Promise<void> {
  const written = new Map<string, string>();
  const inner = (await entriesOf(outputDir).catch(() => [])).filter(
    (name) => name === bestFolder || checkpointName.test(name),
  );
  for (const path of inner.map((name) => join(outputDir, name))) await addFolder(written, path);
  const own = new Map(written);
  await addFolder(own, outputDir);
  for (const folder of await modelFolders(modelDir)) {
    let found = own.get((await folderId(folder)) ?? "");
    for (let at = folder; found === undefined && dirname(at) !== at; at = dirname(at))
      found = written.get((await folderId(dirname(at))) ?? "");
    if (found !== undefined)
      throw new RubricateError(
        "ERR_FILE",
        `Expected an outputDir other than the model's folder but ${found} has files of the model at ${modelDir}, which the ` +
          "run would overwrite; choose another outputDir (overwrite: true does not allow it)",
      );
  }
}

async function addFolder(folders: Map<string, string>, path: string): Promise<void> {
  const id = await folderId(path);
  if (id !== undefined) folders.set(id, path);
}
