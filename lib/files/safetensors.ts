/** Writes safetensors files (https://github.com/huggingface/safetensors, "Format"). The native core reads them. */
import { RubricateError } from "../errors";
import { areFinite } from "../finite";
import { runJob } from "../job";
import { limits } from "../limits";
import { native } from "../native";
import type { Steps } from "../steps";

/** Bytes of an element of each dtype that is written here, by the format's names. */
const elementBytes = { F32: 4, I32: 4, F16: 2, BF16: 2 } as const;

export type StoredDtype = keyof typeof elementBytes;

/** A tensor to be written. */
export interface StoredTensor {
  readonly name: string;
  readonly dtype: StoredDtype;
  readonly shape: readonly number[];
  /** Its elements, row-major, little-endian, whole or in pieces; called when they are written. */
  readonly data: () => Uint8Array | Promise<Uint8Array> | Iterable<Uint8Array> | AsyncIterable<Uint8Array>;
}

/** An fp32 tensor to be written. */
export function float32Tensor(name: string, shape: readonly number[], values: Float32Array): StoredTensor {
  return { name, dtype: "F32", shape, data: () => bytesOf(values) };
}

/** A vector of int32 to be written. */
export function int32Tensor(name: string, values: Int32Array): StoredTensor {
  return { name, dtype: "I32", shape: [values.length], data: () => bytesOf(values) };
}

/** The bytes of an array, shared with it. */
export function bytesOf(values: Float32Array | Int32Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

/**
 * A safetensors file in pieces: the header's length, the header padded with spaces to a multiple of 8 bytes, and the
 * tensors, sorted by element size (largest first) and then by name, as the format's own writer does.
 * @throws RubricateError ERR_SHAPE if a tensor's data do not fit its shape
 */
export async function* safetensorsPieces(
  tensors: readonly StoredTensor[],
  metadata: Readonly<Record<string, string>> = {},
): AsyncGenerator<Uint8Array, void, void> {
  const ordered = [...tensors].sort(
    (a, b) => elementBytes[b.dtype] - elementBytes[a.dtype] || (a.name < b.name ? -1 : a.name > b.name ? 1 : 0),
  );
  const header: Record<string, unknown> = Object.create(null);
  if (Object.keys(metadata).length > 0) header.__metadata__ = metadata;
  let offset = 0;
  for (const tensor of ordered) {
    const end = offset + byteCount(tensor);
    header[tensor.name] = { dtype: tensor.dtype, shape: tensor.shape, data_offsets: [offset, end] };
    offset = end;
  }
  const json = Buffer.from(JSON.stringify(header), "utf8");
  const padded = Buffer.alloc(8 + Math.ceil(json.length / 8) * 8, " ");
  padded.writeBigUInt64LE(BigInt(padded.length - 8), 0);
  json.copy(padded, 8);
  yield padded;
  for (const tensor of ordered) {
    const data = await tensor.data();
    let bytes = 0;
    for await (const piece of ArrayBuffer.isView(data) ? [data as Uint8Array] : data) {
      bytes += piece.length;
      if (bytes <= byteCount(tensor)) yield piece;
    }
    if (bytes !== byteCount(tensor))
      throw new RubricateError(
        "ERR_SHAPE",
        `Expected ${byteCount(tensor)} bytes for ${tensor.name} but received ${bytes}`,
      );
  }
}

/** Bytes checked per step, on this thread: a whole number of elements of every dtype. */
const sliceBytes = 1 << 18;

/**
 * The same tensors; their pieces throw ERR_NOT_FINITE for a number that is not finite, because loading would refuse the
 * file.
 */
export function finiteTensors(tensors: readonly StoredTensor[]): StoredTensor[] {
  return tensors.map((tensor) => ({ ...tensor, data: () => finitePieces(tensor) }));
}

async function* finitePieces({ name, dtype, data }: StoredTensor): AsyncGenerator<Uint8Array, void, void> {
  const whole = await data();
  if (dtype === "I32") {
    yield* ArrayBuffer.isView(whole) ? [whole as Uint8Array] : whole;
    return;
  }
  for await (const piece of ArrayBuffer.isView(whole) ? [whole as Uint8Array] : whole)
    for (let at = 0; at < piece.length; at += sliceBytes) {
      const slice = piece.subarray(at, at + sliceBytes);
      if (!areFinite(slice, dtype))
        throw new RubricateError("ERR_NOT_FINITE", `${name} contains numbers that are not finite; nothing was written`);
      yield slice;
    }
}

function byteCount(tensor: StoredTensor): number {
  return tensor.shape.reduce((product, size) => product * size, elementBytes[tensor.dtype]);
}

/** Maximum size of a file with this many fp32 tensors and numbers in total, with tensor names of this package. */
export function mostBytes(tensors: number, numbers: number): number {
  return 8 + limits.knownHeaderBytes + tensors * limits.knownTensorBytes + 4 * numbers;
}

/** A tensor that was read. */
export interface ReadTensor {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data: Uint8Array;
}

/**
 * Reads a safetensors file with all checks of its header.
 * @throws RubricateError ERR_FILE, ERR_SAFETENSORS
 */
export async function readSafetensors(path: string, signal?: AbortSignal): Promise<Map<string, ReadTensor>> {
  const { tensors } = await runJob(() => native().readSafetensors(path), signal);
  return new Map(tensors);
}

/** The elements of an F32 tensor, without a copy if possible. @throws RubricateError ERR_DTYPE */
export function float32Values(tensor: ReadTensor, name: string): Float32Array {
  if (tensor.dtype !== "F32")
    throw new RubricateError("ERR_DTYPE", `Expected F32 for ${name} but received ${tensor.dtype}`);
  const { buffer, byteOffset, byteLength } = tensor.data;
  if (byteOffset % 4 === 0) return new Float32Array(buffer, byteOffset, byteLength / 4);
  const values = new Float32Array(byteLength / 4);
  bytesOf(values).set(tensor.data);
  return values;
}

/** Numbers widened per step. */
const portion = 1 << 14;

/** Dtypes that `widened` reads. */
export type ReadDtype = Exclude<StoredDtype, "I32">;

/** The elements of a tensor as fp32: those of 16 bits are widened, which is exact. @throws RubricateError ERR_DTYPE */
export function* widened(tensor: ReadTensor, name: string): Steps<Float32Array> {
  if (tensor.dtype !== "BF16" && tensor.dtype !== "F16") return float32Values(tensor, name);
  const { data, dtype } = tensor;
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const words = new Uint32Array(data.byteLength / 2);
  for (let at = 0; at < words.length; at++) {
    const half = view.getUint16(2 * at, true);
    words[at] = dtype === "BF16" ? half << 16 : wordOf(half);
    if (at % portion === 0) yield;
  }
  return new Float32Array(words.buffer);
}

/** The bits of a float16 as a float32. */
function wordOf(half: number): number {
  const [sign, exponent, fraction] = [(half & 0x8000) << 16, (half >> 10) & 31, half & 1023];
  if (exponent === 31) return sign | 0x7f800000 | (fraction << 13);
  if (exponent > 0) return sign | ((exponent + 112) << 23) | (fraction << 13);
  if (fraction === 0) return sign;
  const shift = Math.clz32(fraction) - 21; // a subnormal: the first bit set becomes the implicit one
  return sign | ((113 - shift) << 23) | (((fraction << shift) & 1023) << 13);
}
