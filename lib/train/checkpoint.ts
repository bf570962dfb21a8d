/**
 * Checkpoints: outputDir/checkpoint-N, where N is the number of optimizer steps made. A folder contains trainer_state.json,
 * written last with the SHA-256 of every other file, the parameters, and the optimizer's moments. It is written atomically.
 */
import { createHash } from "node:crypto";
import { stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { configFile, tensorFile } from "../adapter/files";
import { formatJson, quoted, RubricateError } from "../errors";
import { type FileContents, removeFolder, slicesOf, writeFolder } from "../files/atomic";
import { isObject, readJson } from "../files/json";
import { entriesOf } from "../files/operations";
import { readPieces } from "../files/read";
import { finiteTensors, float32Values, mostBytes, readSafetensors, safetensorsPieces } from "../files/safetensors";
import { firstNotFiniteSteps } from "../finite";
import { throwIfAborted } from "../job";
import { limits } from "../limits";
import type { MatmulRecord } from "../model/device";
import type { NativeOptimizer } from "../native";
import { inSlices } from "../steps";
import { frozenIn, storedFrozen } from "./freezing";
import type { RunIdentity } from "./identity";
import { fault, stateFault, type TrainerState } from "./state";
import { storedMoments, storedTensors, type Trainee, valuesOf, withoutEntries } from "./trainee";

const stateFile = "trainer_state.json";
const optimizerFile = "optimizer.safetensors";
const bestFile = "best.safetensors";

/** A checkpoint that was read. */
export interface Checkpoint {
  readonly path: string;
  readonly identity: RunIdentity;
  /** The CPU path of the kernels: other paths round sums differently. */
  readonly cpuPath: string;
  /** Provider of matmuls on the model's CUDA device (`ModelDevice.matmul`); null: the CPU. */
  readonly matmul: string | null;
  readonly state: TrainerState;
  readonly values: Float32Array[];
  readonly m: Float32Array;
  readonly v: Float32Array;
  /** Places of the numbers that are trained no more. */
  readonly frozen: Int32Array;
  /** Values at the lowest evaluation loss, if the run keeps them. */
  readonly best: Float32Array[] | undefined;
}

/** What to write into a checkpoint. */
export interface CheckpointContents {
  readonly identity: RunIdentity;
  readonly cpuPath: string;
  readonly matmul: string | null;
  /** The device's matmuls so far, with their provider: for people, not for resuming. */
  readonly matmuls: readonly MatmulRecord[];
  readonly version: string;
  readonly state: TrainerState;
  readonly trainee: Trainee;
  /** The parameters' files, and which of them contains the tensors. */
  readonly parameterFiles: readonly FileContents[];
  readonly optimizer: NativeOptimizer;
  readonly best: readonly Float32Array[] | undefined;
}

export const checkpointName = /^checkpoint-(0|[1-9]\d{0,14})$/;

export function checkpointPath(outputDir: string, step: number): string {
  return join(outputDir, `checkpoint-${step}`);
}

/** Steps of the checkpoints in a folder, newest first. */
export async function checkpointSteps(outputDir: string): Promise<number[]> {
  const found: number[] = [];
  for (const name of await entriesOf(outputDir)) {
    const match = checkpointName.exec(name);
    if (match) found.push(Number(match[1]));
  }
  return found.sort((a, b) => b - a);
}

/**
 * Writes a checkpoint atomically.
 * @returns its path
 * @throws RubricateError ERR_FILE
 */
export async function writeCheckpoint(outputDir: string, contents: CheckpointContents): Promise<string> {
  const path = checkpointPath(outputDir, contents.state.step);
  const digests: Record<string, { bytes: number; sha256: string }> = {};
  const files = [
    ...contents.parameterFiles,
    {
      name: optimizerFile,
      data: safetensorsPieces([
        ...finiteTensors(storedMoments(contents.optimizer, contents.trainee.count)),
        ...storedFrozen(contents.trainee, contents.optimizer),
      ]),
    },
  ];
  if (contents.best)
    files.push({
      name: bestFile,
      data: safetensorsPieces(finiteTensors(storedTensors(contents.trainee, contents.best))),
    });
  const digested = files.map(({ name, data }) => ({ name, data: withDigest(name, data, digests) }));
  await writeFolder(path, [...digested, { name: stateFile, data: stateText(contents, digests) }]);
  return path;
}

/** The text of trainer_state.json, made after the other files are written. */
async function* stateText(contents: CheckpointContents, files: object): AsyncGenerator<Uint8Array, void, void> {
  const { version: rubricate, cpuPath, matmul, matmuls, identity, state } = contents;
  const document = { format: 1, rubricate, cpuPath, matmul, matmuls, identity, state, files };
  yield Buffer.from(`${JSON.stringify(document, null, 2)}\n`);
}

async function* withDigest(
  name: string,
  data: FileContents["data"],
  digests: Record<string, { bytes: number; sha256: string }>,
): AsyncGenerator<Uint8Array, void, void> {
  const hash = createHash("sha256");
  let bytes = 0;
  for await (const slice of slicesOf(data)) {
    hash.update(slice);
    bytes += slice.length;
    yield slice;
  }
  digests[name] = { bytes, sha256: hash.digest("hex") };
}

interface StateDocument {
  readonly format: 1;
  readonly cpuPath: string;
  readonly matmul?: string | null;
  readonly identity: RunIdentity;
  readonly state: TrainerState;
  readonly files: Readonly<Record<string, { bytes: number; sha256: string }>>;
}

/**
 * Reads a checkpoint and compares every file with its digest.
 * @param parameterFile which of its files contains the trainee's tensors
 * @throws RubricateError ERR_CHECKPOINT naming what is damaged or missing, ERR_ABORTED
 */
export async function readCheckpoint(
  path: string,
  trainee: Trainee,
  parameterFile: string,
  signal: AbortSignal | undefined,
): Promise<Checkpoint> {
  try {
    const { identity, cpuPath, matmul = null, state, files } = await readState(path);
    requireOwnFiles(path, files, trainee, parameterFile);
    for (const [name, expected] of Object.entries(files)) await requireDigest(join(path, name), expected, signal);
    const tensorsOf = (name: string) => {
      if (!Object.hasOwn(files, name)) throw damaged(path, `it has no ${name}`);
      return readSafetensors(join(path, name), signal);
    };
    const where = join(path, parameterFile);
    const values = valuesOf(trainee, withoutEntries(trainee, await tensorsOf(parameterFile), where), where);
    const optimizer = await tensorsOf(optimizerFile);
    const [m, v] = ["m", "v"].map((name) => {
      const tensor = optimizer.get(name);
      const moments = tensor && float32Values(tensor, name);
      if (moments?.length !== trainee.count) throw damaged(path, `${optimizerFile} has no ${name} of ${trainee.count}`);
      return moments;
    }) as [Float32Array, Float32Array];
    if (identity.keepBest === true && state.best !== null && !Object.hasOwn(files, bestFile))
      throw damaged(path, `it has no ${bestFile}`);
    const best = Object.hasOwn(files, bestFile)
      ? valuesOf(trainee, await tensorsOf(bestFile), join(path, bestFile))
      : undefined;
    for (const numbers of [...values, m, v, ...(best ?? [])])
      if ((await inSlices(firstNotFiniteSteps(numbers))) >= 0)
        throw damaged(path, "it contains numbers that are not finite");
    return { path, identity, cpuPath, matmul, state, values, m, v, frozen: frozenIn(optimizer, trainee), best };
  } catch (cause) {
    if (cause instanceof RubricateError && ["ERR_CHECKPOINT", "ERR_ABORTED"].includes(cause.code)) throw cause;
    throw damaged(path, (cause as Error).message, cause);
  }
}

/**
 * Reads trainer_state.json only: the run that a checkpoint belongs to.
 * @throws RubricateError ERR_CHECKPOINT
 */
export async function readState(path: string): Promise<StateDocument> {
  let document: StateDocument;
  try {
    document = (await readJson(join(path, stateFile))) as StateDocument;
  } catch (cause) {
    throw damaged(path, `${stateFile} cannot be read: ${(cause as Error).message}`, cause);
  }
  if (document?.format !== 1) throw damaged(path, `${stateFile} is of format ${formatJson(document?.format)}, not 1`);
  const { identity, cpuPath, matmul = null, state, files } = document;
  for (const [name, part] of Object.entries({ identity, state, files }))
    if (!isObject(part)) throw damaged(path, `${stateFile} lacks a part: ${name}`);
  if (typeof cpuPath !== "string" || (matmul !== null && typeof matmul !== "string"))
    throw damaged(path, `${stateFile} lacks a part: cpuPath and matmul`);
  const wrong = stateFault(state, identity);
  if (wrong) throw damaged(path, `${stateFile} lacks a part that can be used: ${wrong}`);
  const named = checkpointName.exec(basename(path));
  if (named && Number(named[1]) !== state.step)
    throw damaged(path, `${stateFile} is of another step: ${fault("step", named[1]!, state.step)}`);
  if (Object.keys(files).some((name) => !/^[\w.-]+$/.test(name) || name.startsWith(".")))
    throw damaged(path, `${stateFile} names a file outside its folder`);
  return document;
}

/**
 * Accepts only files that a run of this trainee writes, within their possible sizes: a sparse file of terabytes costs
 * nothing to make, and hashing it takes hours.
 */
function requireOwnFiles(path: string, files: StateDocument["files"], trainee: Trainee, parameterFile: string): void {
  const tensorBytes = mostBytes(trainee.names.length, trainee.count);
  const entries = [...trainee.entries().values()];
  const entryCount = entries.reduce((sum, { length }) => sum + length, 0);
  const most = new Map([
    [parameterFile, mostBytes(trainee.names.length + entries.length, trainee.count + entryCount)],
    [optimizerFile, trainee.freezing ? mostBytes(3, 3 * trainee.count) : mostBytes(2, 2 * trainee.count)],
    [bestFile, tensorBytes],
  ]);
  if (parameterFile === tensorFile) most.set(configFile, limits.documentBytes);
  for (const [name, entry] of Object.entries(files)) {
    const limit = most.get(name);
    if (limit === undefined) throw damaged(path, `${stateFile} names a file that no such run writes: ${quoted(name)}`);
    const bytes = entry?.bytes;
    if (!(Number.isSafeInteger(bytes) && bytes >= 0 && bytes <= limit))
      throw damaged(path, `expected at most ${limit} bytes for ${name} in ${stateFile} but found ${formatJson(bytes)}`);
  }
}

async function requireDigest(
  path: string,
  expected: { bytes: number; sha256: string },
  signal: AbortSignal | undefined,
): Promise<void> {
  const { size } = await stat(path);
  if (size !== expected.bytes) throw new Error(`${path} has ${size} bytes, not ${expected.bytes}`);
  const hash = createHash("sha256");
  for await (const piece of readPieces(path)) {
    throwIfAborted(signal);
    hash.update(piece);
  }
  if (hash.digest("hex") !== expected.sha256) throw new Error(`the contents of ${path} are not what was written`);
}

export function damaged(path: string, reason: string, cause?: unknown): RubricateError {
  return new RubricateError("ERR_CHECKPOINT", `The checkpoint ${path} cannot be used: ${reason}`, { cause });
}

/**
 * Removes all but the newest of a run's checkpoints up to a step. Later ones do not count: they are damaged, or the run
 * would have resumed from them. Checkpoints of other runs, and those that cannot be read, stay.
 * @param isOwn whether the checkpoint of a step, at its path, belongs to the run
 * @throws RubricateError ERR_FILE
 */
export async function removeOldCheckpoints(
  outputDir: string,
  step: number,
  keep: number,
  isOwn: (step: number, path: string) => Promise<boolean>,
): Promise<void> {
  let own = 0;
  for (const one of await checkpointSteps(outputDir)) {
    if (one > step) continue;
    const path = checkpointPath(outputDir, one);
    if ((await isOwn(one, path)) && ++own > keep) await removeFolder(path);
  }
}
