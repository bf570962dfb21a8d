/** An adapter's folder: adapter_config.json and adapter_model.safetensors. docs/adapters.md describes both. */
import { stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { quoted, RubricateError } from "../errors";
import type { FileContents } from "../files/atomic";
import { adapterConfigFile as configFile, adapterTensorFile as tensorFile } from "../files/model_folder";
import { importReference, requireFolder } from "../files/not_a_folder";
import { present, readText, requireContents } from "../files/read";
import { readableFile } from "../files/read_together";
import {
  finiteTensors,
  float32Tensor,
  int32Tensor,
  type ReadDtype,
  type ReadTensor,
  readSafetensors,
  safetensorsPieces,
  widened,
} from "../files/safetensors";
import { firstNotFiniteSteps } from "../finite";
import { limits } from "../limits";
import { inSlices } from "../steps";
import { type AdapterFileConfig, parseAdapterConfig } from "./config";

export { configFile, tensorFile };

/** What RED's reference implementation writes. */
const referenceFile = "delta_vector.pth";

/** The number of elements of a shape. */
export const elementCount = (shape: readonly number[]) => shape.reduce((product, size) => product * size, 1);

/** An fp32 parameter to be written, by rows. */
interface WrittenParameter {
  readonly name: string;
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

/** The two files of an adapter, to be written together. entries: of its sparse updates, by name. */
export function adapterFiles(
  config: object,
  parameters: readonly WrittenParameter[],
  entries: ReadonlyMap<string, Int32Array> = new Map(),
): FileContents[] {
  const tensors = [
    ...parameters.map(({ name, shape, values }) => float32Tensor(name, shape, values)),
    ...[...entries].map(([name, own]) => int32Tensor(name, own)),
  ];
  return [
    { name: configFile, data: `${JSON.stringify(config, null, 2)}\n` },
    { name: tensorFile, data: safetensorsPieces(finiteTensors(tensors), { format: "pt" }) },
  ];
}

/**
 * Reads the text of an adapter's configuration, of any method.
 * @param given the folder as the caller wrote it, for messages
 * @throws RubricateError ERR_FILE if the folder does not exist or cannot be read, ERR_ADAPTER_FORMAT
 */
export async function readAdapterText(dir: string, given = dir): Promise<{ text: string; path: string }> {
  const folder = resolve(dir);
  await requireFolder("adapter", folder, given);
  const path = await fileOf(folder, configFile);
  return { text: await readText(path, limits.documentBytes), path };
}

/**
 * Reads only the configuration of a RED adapter.
 * @throws RubricateError ERR_FILE, ERR_ADAPTER_FORMAT
 */
export async function readAdapterConfig(dir: string, given = dir): Promise<AdapterFileConfig> {
  const { text, path } = await readAdapterText(dir, given);
  return parseAdapterConfig(text, path);
}

/**
 * Reads the parameters of an adapter's folder. All must be present, of the right shape, and finite.
 * @param shapesOf returns the shape of each expected tensor by name; it may use the tensors of the file
 * @param most bytes that the file may have
 * @param dtypes that they may have; 16 bits are widened, which is exact
 * @param isOther whether a tensor that is not expected may be there; it is not read here
 * @throws RubricateError ERR_FILE, ERR_ADAPTER_FORMAT naming the tensor
 */
export async function readAdapterVectors(
  dir: string,
  shapesOf: (tensors: ReadonlyMap<string, ReadTensor>) => ReadonlyMap<string, readonly number[]>,
  most: number,
  dtypes: readonly ReadDtype[] = ["F32"],
  isOther: (name: string, tensor: ReadTensor) => boolean = () => false,
): Promise<Map<string, Float32Array>> {
  const { tensors, path } = await readAdapterTensors(dir, most);
  const shapes = shapesOf(tensors);
  const wrong = (text: string) => new RubricateError("ERR_ADAPTER_FORMAT", `${text} in ${path}`);
  for (const [name, tensor] of tensors)
    if (!shapes.has(name) && !isOther(name, tensor)) throw wrong(`Expected no tensor ${quoted(name)}`);
  const vectors = new Map<string, Float32Array>();
  for (const [name, shape] of shapes) {
    const tensor = tensors.get(name);
    if (!tensor) throw wrong(`Expected a tensor ${name} but found none`);
    if (!dtypes.includes(tensor.dtype as ReadDtype))
      throw wrong(`Expected ${dtypes.join(" or ")} for ${name} but found ${tensor.dtype}`);
    if (tensor.shape.join() !== shape.join())
      throw wrong(`Expected shape [${shape.join(", ")}] for ${name} but found [${tensor.shape.join(", ")}]`);
    const values = await inSlices(widened(tensor, name));
    const at = await inSlices(firstNotFiniteSteps(values));
    if (at >= 0) throw wrong(`Expected finite numbers but found ${values[at]} at ${at} of ${name}`);
    vectors.set(name, values);
  }
  return vectors;
}

/**
 * All tensors of an adapter's folder, whatever they are.
 * @param most bytes that the file may have
 * @throws RubricateError ERR_FILE, ERR_ADAPTER_FORMAT
 */
export async function readAdapterTensors(
  dir: string,
  most: number,
): Promise<{ tensors: Map<string, ReadTensor>; path: string }> {
  const path = await fileOf(resolve(dir), tensorFile);
  await requireSize(path, most);
  try {
    return { tensors: await readSafetensors(path), path };
  } catch (cause) {
    if (!(cause instanceof RubricateError) || cause.code !== "ERR_SAFETENSORS") throw cause;
    throw new RubricateError("ERR_ADAPTER_FORMAT", cause.message, { cause });
  }
}

/** The whole file is read into memory, so its size is checked first. */
async function requireSize(path: string, most: number): Promise<void> {
  await requireContents(path);
  const { size } = await stat(path);
  if (size > most)
    throw new RubricateError(
      "ERR_ADAPTER_FORMAT",
      `Expected at most ${most} bytes in ${path} for the vectors that ${configFile} names but it has ${size}`,
    );
}

async function fileOf(folder: string, name: string): Promise<string> {
  const path = await readableFile(folder, name);
  if (await present(path)) return path;
  if (name === configFile && (await present(join(folder, "config.json"))))
    throw new RubricateError(
      "ERR_ADAPTER_FORMAT",
      `Expected ${name} in the adapter folder ${folder} but it is a model's folder: load it as the model`,
    );
  const reference = join(folder, referenceFile);
  const hint = name === configFile && (await present(reference)) ? `; ${importReference(reference)}` : "";
  throw new RubricateError(
    "ERR_ADAPTER_FORMAT",
    `Expected ${name} in the adapter folder ${folder} but found none${hint}`,
  );
}
