/** Reads the tensors of a file of torch.save: a dictionary of names and tensors in a zip archive. */
import { quoted } from "../../errors";
import { limits } from "../../limits";
import { inSlices, type Steps } from "../../steps";
import { cannotRead, openRegular } from "../read";
import type { ReadTensor } from "../safetensors";
import {
  type DescribedTensor,
  describeValue,
  isDictionary,
  isTensor,
  type TorchDtype,
  tupleItems,
  unpickled,
} from "./pickle";
import { type Archive, readEntry, readSmallEntry, readZip, torchFault, type ZipEntry } from "./zip";

const elementBytes: Readonly<Record<TorchDtype, number>> = { F32: 4, F16: 2, BF16: 2 };

/** A tensor's description, checked: its elements lie within its storage. */
export interface TorchHeader {
  readonly dtype: TorchDtype;
  readonly shape: readonly number[];
}

interface Placed extends TorchHeader {
  readonly entry: ZipEntry;
  readonly strides: readonly number[];
  readonly count: number;
  /** Elements of the storage from the first to after the last. */
  readonly from: number;
  readonly to: number;
}

/** Bytes at the start that tell the kinds of files apart. */
const startBytes = 9;
const zipStart = 0x04034b50;

/** Refuses other files than zip archives, and says what can be done. */
async function requireZip({ file, path, size }: Archive): Promise<void> {
  const start = Buffer.alloc(startBytes);
  const { bytesRead } = await file.read(start, 0, startBytes, 0).catch((cause) => {
    throw cannotRead(path, cause);
  });
  if (bytesRead >= 4 && start.readUInt32LE() === zipStart) return;
  // The length of the header, and its first letter.
  if (bytesRead === startBytes && start.readBigUInt64LE() < size && start[8] === 0x7b)
    throw torchFault(
      path,
      "a file of torch.save",
      "it is a safetensors file: a folder with adapter_config.json and adapter_model.safetensors is loaded as it is",
    );
  const convert = `torch.save(torch.load(${JSON.stringify(path)}, map_location="cpu"), "converted.pth")`;
  const found =
    start[0] === 0x80
      ? `it has the format of torch before 1.6; in Python, ${convert} converts it`
      : `it is no zip archive (${size} bytes)`;
  throw torchFault(path, "a file of torch.save", found);
}

const isSize = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

function sizesOf(value: unknown): readonly number[] | undefined {
  const items = tupleItems(value);
  return items?.every(isSize) ? (items as number[]) : undefined;
}

/** Checks a tensor's numbers against its storage. */
function placed(name: string, tensor: DescribedTensor, entries: ReadonlyMap<string, ZipEntry>, path: string): Placed {
  const { storage, offset } = tensor;
  const [shape, strides] = [sizesOf(tensor.shape), sizesOf(tensor.strides)];
  if (
    !shape ||
    !strides ||
    shape.length !== strides.length ||
    shape.length > limits.tensorDimensions ||
    !isSize(offset)
  )
    throw torchFault(
      path,
      `offset, sizes and strides of 0 or more, of at most ${limits.tensorDimensions} dimensions, for ${quoted(name)}`,
      "found others",
    );
  const entry = entries.get(storage.key);
  if (!entry) throw torchFault(path, `an entry data/${storage.key} for ${quoted(name)}`, "found none");
  const bytes = storage.count * elementBytes[storage.dtype];
  if (entry.size !== bytes)
    throw torchFault(
      path,
      `${bytes} bytes in ${quoted(entry.name)} for ${storage.count} elements of ${storage.dtype}`,
      `it has ${entry.size}`,
    );
  const count = shape.includes(0) ? 0 : shape.reduce((product, size) => product * size, 1);
  const last = count === 0 ? offset - 1 : shape.reduce((sum, size, at) => sum + (size - 1) * strides[at]!, offset);
  if (offset > storage.count || last >= storage.count)
    throw torchFault(
      path,
      `${quoted(name)} within the ${storage.count} elements of its storage`,
      `it has elements up to ${Math.max(offset, last)}`,
    );
  if (count > storage.count)
    throw torchFault(
      path,
      `at most ${storage.count} elements in ${quoted(name)}, those of its storage,`,
      `it has ${count}`,
    );
  return { dtype: storage.dtype, shape, strides, count, entry, from: offset, to: last + 1 };
}

/** The tensors that the pickle describes, by name. */
function describedTensors(value: unknown, entries: ReadonlyMap<string, ZipEntry>, path: string): Map<string, Placed> {
  if (!isDictionary(value))
    throw torchFault(path, "a dictionary of names and tensors", `it has ${describeValue(value)}`);
  const tensors = new Map<string, Placed>();
  let bytes = 0;
  for (const [name, tensor] of value.items) {
    if (typeof name !== "string" || !isTensor(tensor))
      throw torchFault(path, "names and tensors", `it has ${describeValue(tensor)} for ${describeValue(name)}`);
    if (tensors.has(name)) throw torchFault(path, "each name once", `${quoted(name)} is there twice`);
    const place = placed(name, tensor, entries, path);
    bytes += place.entry.size; // all of which is read
    if (bytes > limits.torchTensorBytes)
      throw torchFault(path, `at most ${limits.torchTensorBytes} bytes of tensors`, "it has more");
    tensors.set(name, place);
  }
  return tensors;
}

/** Elements copied per step. */
const portion = 1 << 12;

/** Whether elements lie one after another in row-major order. */
function isContiguous({ shape, strides, count }: Placed): boolean {
  let expected = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (shape[axis] !== 1 && strides[axis] !== expected) return count === 0;
    expected *= shape[axis]!;
  }
  return true;
}

/** The elements of a tensor in row-major order. `bytes`: its storage, from its first element. */
function* gathered(place: Placed, bytes: Buffer): Steps<Uint8Array> {
  if (isContiguous(place)) return bytes;
  const { shape, strides, count, dtype } = place;
  const size = elementBytes[dtype];
  const data = new Uint8Array(count * size);
  const index = shape.map(() => 0);
  for (let to = 0, from = 0; to < count; to++) {
    for (let byte = 0; byte < size; byte++) data[to * size + byte] = bytes[from * size + byte]!;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      from += strides[axis]!;
      if (++index[axis]! < shape[axis]!) break;
      from -= shape[axis]! * strides[axis]!;
      index[axis] = 0;
    }
    if (to % portion === 0) yield;
  }
  return data;
}

/** data.pkl and the storages, which lie in one folder of the archive. */
async function openContents(archive: Archive) {
  const { path } = archive;
  const entries = await readZip(archive);
  const pickles = [...entries.values()].filter(({ name }) => /^[^/]+\/data\.pkl$/.test(name));
  const [pickle] = pickles;
  if (pickles.length !== 1 || !pickle)
    throw torchFault(path, "one data.pkl, as torch.save writes it,", `it has ${pickles.length || "none"}`);
  const folder = pickle.name.slice(0, -"data.pkl".length);
  const byteOrder = entries.get(`${folder}byteorder`);
  if (byteOrder) {
    const order = (await readSmallEntry(archive, byteOrder, limits.torchNameBytes)).toString("latin1");
    if (order !== "little") throw torchFault(path, "little-endian numbers", `their order is ${quoted(order)}`);
  }
  const storages = new Map<string, ZipEntry>();
  const prefix = `${folder}data/`;
  for (const [name, entry] of entries) if (name.startsWith(prefix)) storages.set(name.slice(prefix.length), entry);
  const value = unpickled(await readSmallEntry(archive, pickle, limits.torchPickleBytes), path);
  return describedTensors(value, storages, path);
}

/**
 * Reads the tensors of a file that torch.save wrote (torch 1.6 or later): float32, float16 or bfloat16. The device that they
 * were on is ignored. Nothing of the file is executed.
 * @param check is given the descriptions before any elements are read; what it throws is passed on
 * @returns elements as stored, row-major, little-endian
 * @throws RubricateError ERR_FILE, ERR_TORCH_FILE
 */
export async function readTorchTensors(
  path: string,
  check: (headers: ReadonlyMap<string, TorchHeader>) => void,
): Promise<Map<string, ReadTensor>> {
  const { file, size } = await openRegular(path);
  try {
    const archive = { file, path, size };
    await requireZip(archive);
    const places = await openContents(archive);
    check(places);
    const tensors = new Map<string, ReadTensor>();
    for (const [name, place] of places) {
      const { dtype, shape, entry, from, to } = place;
      const width = elementBytes[dtype];
      const bytes = await readEntry(archive, entry, from * width, to * width);
      tensors.set(name, { dtype, shape, data: await inSlices(gathered(place, bytes)) });
    }
    return tensors;
  } finally {
    await file.close();
  }
}
