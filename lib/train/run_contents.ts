/** What a run writes into its checkpoints. */

import type { Adapter } from "../adapter/adapter";
import { tensorFile } from "../adapter/files";
import type { FileContents } from "../files/atomic";
import { finiteTensors, safetensorsPieces } from "../files/safetensors";
import { type NativeOptimizer, native } from "../native";
import type { CheckpointContents } from "./checkpoint";
import type { RunIdentity } from "./identity";
import type { Settings } from "./options";
import type { TrainerState } from "./state";
import type { Trainee } from "./trainee";

const weightsFile = "parameters.safetensors";

/** The parts of a run that a checkpoint is written of. */
interface WrittenParts {
  readonly settings: Settings;
  readonly trainee: Trainee;
  readonly identity: RunIdentity;
}

/** The name of the file of the trained parameters. */
export function parameterFileOf(adapter: Adapter | undefined): string {
  return adapter ? tensorFile : weightsFile;
}

/** The contents of a checkpoint of the run's current state. */
export async function checkpointContents(
  { settings, identity, trainee }: WrittenParts,
  state: TrainerState,
  optimizer: NativeOptimizer,
  best: readonly Float32Array[] | undefined,
): Promise<CheckpointContents> {
  const { model } = settings;
  return {
    identity,
    cpuPath: native().cpu().path,
    matmul: model.device.matmul ?? null,
    matmuls: model.native.matmuls(),
    version: native().version,
    state,
    trainee,
    parameterFiles: await parameterFiles(settings, trainee),
    optimizer,
    best,
  };
}

/** An adapter's checkpoint is also an adapter folder. */
async function parameterFiles({ adapter }: Settings, trainee: Trainee): Promise<FileContents[]> {
  if (adapter) return adapter.files();
  return [{ name: weightsFile, data: safetensorsPieces(finiteTensors(trainee.tensors())) }];
}
