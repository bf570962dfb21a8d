/** Writes files as torch.save does, and wrong ones. */
import { writeFileSync } from "node:fs";
import { crc32 } from "node:zlib";

export interface Entry {
  readonly name: string;
  readonly data: Buffer;
  /** Of the central directory, if they are to be wrong. */
  readonly crc?: number;
  readonly size?: number;
  readonly start?: number;
  readonly method?: number;
  readonly flags?: number;
  /** Sizes and start in the extra field of zip64. */
  readonly wide?: boolean;
}

/** A zip archive. `wideEnd`: with the records of zip64 at its end. */
export function zip(entries: readonly Entry[], { wideEnd = false, count = entries.length } = {}): Buffer {
  const files: Buffer[] = [];
  const directory: Buffer[] = [];
  let at = 0;
  for (const entry of entries) {
    const name = Buffer.from(entry.name);
    const local = Buffer.alloc(30);
    local.writeUInt32LE(0x04034b50, 0);
    local.writeUInt16LE(name.length, 26);
    files.push(local, name, entry.data);
    directory.push(centralEntry(entry, name, at));
    at += 30 + name.length + entry.data.length;
  }
  const central = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  for (const place of [8, 10]) end.writeUInt16LE(wideEnd ? 0xffff : count, place);
  end.writeUInt32LE(wideEnd ? 0xffffffff : central.length, 12);
  end.writeUInt32LE(wideEnd ? 0xffffffff : at, 16);
  return Buffer.concat([...files, central, ...(wideEnd ? wideRecords(count, central.length, at) : []), end]);
}

function centralEntry(entry: Entry, name: Buffer, at: number): Buffer {
  const { data, crc = crc32(data), size = data.length, start = at, method = 0, flags = 0, wide = false } = entry;
  const fields = Buffer.alloc(46);
  fields.writeUInt32LE(0x02014b50, 0);
  fields.writeUInt16LE(flags, 8);
  fields.writeUInt16LE(method, 10);
  fields.writeUInt32LE(crc, 16);
  for (const place of [20, 24]) fields.writeUInt32LE(wide ? 0xffffffff : size, place);
  fields.writeUInt16LE(name.length, 28);
  fields.writeUInt32LE(wide ? 0xffffffff : start, 42);
  if (!wide) return Buffer.concat([fields, name]);
  const extra = Buffer.alloc(28);
  extra.writeUInt16LE(1, 0);
  extra.writeUInt16LE(24, 2);
  for (const [index, value] of [size, size, start].entries()) extra.writeBigUInt64LE(BigInt(value), 4 + 8 * index);
  fields.writeUInt16LE(extra.length, 30);
  return Buffer.concat([fields, name, extra]);
}

function wideRecords(count: number, size: number, start: number): Buffer[] {
  const record = Buffer.alloc(56);
  record.writeUInt32LE(0x06064b50, 0);
  for (const [place, value] of [
    [24, count],
    [32, count],
    [40, size],
    [48, start],
  ] as const)
    record.writeBigUInt64LE(BigInt(value), place);
  const locator = Buffer.alloc(20);
  locator.writeUInt32LE(0x07064b50, 0);
  locator.writeBigUInt64LE(BigInt(start + size), 8);
  return [record, locator];
}

/** Operations of pickle. */
export const op = {
  text(value: string): Buffer {
    const bytes = Buffer.from(value);
    const length = Buffer.alloc(4);
    length.writeUInt32LE(bytes.length);
    return Buffer.concat([Buffer.from("X"), length, bytes]);
  },
  /** LONG1 of 8 bytes. */
  number(value: number): Buffer {
    const bytes = Buffer.alloc(10);
    bytes.set([0x8a, 8]);
    bytes.writeBigInt64LE(BigInt(value), 2);
    return bytes;
  },
  tuple: (...items: Buffer[]) => Buffer.concat([Buffer.from("("), ...items, Buffer.from("t")]),
  name: (module: string, name: string) => Buffer.from(`c${module}\n${name}\n`),
  call: (called: Buffer, args: Buffer) => Buffer.concat([called, args, Buffer.from("R")]),
  pickle: (...body: Buffer[]): Buffer => Buffer.concat([Buffer.from([0x80, 2]), ...body, Buffer.from(".")]),
};

export interface Described {
  readonly type?: string;
  readonly key?: string;
  readonly count?: number;
  readonly offset?: number;
  readonly shape?: readonly number[];
  readonly strides?: readonly number[];
}

/** A tensor in a pickle; by default one of 4 elements of float32 in the storage 0. */
export function tensor({
  type = "FloatStorage",
  key = "0",
  count = 4,
  offset = 0,
  shape = [1, 4],
  strides = [4, 1],
}: Described = {}) {
  const storage = op.tuple(
    op.text("storage"),
    op.name("torch", type),
    op.text(key),
    op.text("cuda:0"),
    op.number(count),
  );
  const numbers = (list: readonly number[]) => op.tuple(...list.map(op.number));
  const hooks = op.call(op.name("collections", "OrderedDict"), Buffer.from(")"));
  return op.call(
    op.name("torch._utils", "_rebuild_tensor_v2"),
    op.tuple(
      storage,
      Buffer.from("Q"),
      op.number(offset),
      numbers(shape),
      numbers(strides),
      Buffer.from([0x89]),
      hooks,
    ),
  );
}

/** A dictionary in a pickle. */
export const dictionary = (...items: readonly [key: Buffer, value: Buffer][]) =>
  Buffer.concat([Buffer.from("}("), ...items.flat(), Buffer.from("u")]);

/** Numbers as float32. */
export const floats = (...values: number[]): Buffer => Buffer.from(Float32Array.from(values).buffer);

/** The entries of a file with one tensor, or with what is given instead. */
export function entriesOf({
  pickle = op.pickle(dictionary([op.text("x"), tensor()])) as Buffer,
  order = "little",
  storages = { 0: floats(1, 2, 3, 4) } as Readonly<Record<string, Buffer>>,
} = {}): Entry[] {
  return [
    { name: "a/data.pkl", data: pickle },
    { name: "a/byteorder", data: Buffer.from(order) },
    ...Object.entries(storages).map(([key, data]) => ({ name: `a/data/${key}`, data })),
    { name: "a/version", data: Buffer.from("3\n") },
  ];
}

/** Writes a file of named vectors that share one storage of `width` numbers, all `value`. */
export function writeVectors(
  path: string,
  names: readonly string[],
  {
    width,
    shape = [1, width],
    value = 1,
    type = "FloatStorage",
  }: { width: number; shape?: readonly number[]; value?: number; type?: string },
): void {
  const strides = shape.length === 1 ? [1] : [shape[1]!, 1];
  const items = names.map((name): [Buffer, Buffer] => [op.text(name), tensor({ type, count: width, shape, strides })]);
  const storages = { 0: Buffer.from(new Float32Array(width).fill(value).buffer) };
  writeFileSync(path, zip(entriesOf({ pickle: op.pickle(dictionary(...items)), storages })));
}
