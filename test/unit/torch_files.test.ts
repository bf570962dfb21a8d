/** The reader of files of torch.save: what it reads, and what it refuses. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readTorchTensors } from "../../lib/files/torch/tensors";
import { limits } from "../../lib/limits";
import { folderOf } from "../parity/fixtures";
import { type Described, dictionary, type Entry, entriesOf, floats, op, tensor, zip } from "./torch_archives";

let home: string;
beforeAll(() => {
  home = mkdtempSync(join(tmpdir(), "rubricate-torch-"));
});
afterAll(() => rmSync(home, { recursive: true }));

const anything = () => undefined;
const fixture = (name: string) => join(folderOf("reference"), name);

function read(bytes: Uint8Array, check: Parameters<typeof readTorchTensors>[1] = anything) {
  const path = join(home, "file.pth");
  writeFileSync(path, bytes);
  return readTorchTensors(path, check);
}
const refused = (says: RegExp) =>
  expect.objectContaining({ code: "ERR_TORCH_FILE", message: expect.stringMatching(says) });
const numbersOf = ({ data }: { data: Uint8Array }) => [...new Float32Array(Uint8Array.from(data).buffer)];
const withPickle = (pickle: Buffer) => zip(entriesOf({ pickle }));
const withTensor = (described: Described) => withPickle(op.pickle(dictionary([op.text("x"), tensor(described)])));
const changed = (name: string, change: Partial<Entry>, options = {}) =>
  zip(
    entriesOf().map((entry) => (entry.name === name ? { ...entry, ...change } : entry)),
    options,
  );

describe("what torch.save writes", () => {
  test("views of a storage are read in row-major order", async () => {
    const tensors = await readTorchTensors(fixture("views.pth"), anything);
    const halves = (name: string) => [...new Uint16Array(Uint8Array.from(tensors.get(name)!.data).buffer)];
    const half = (value: number) => {
      const exponent = Math.floor(Math.log2(value));
      return value === 0 ? 0 : ((exponent + 15) << 10) | Math.round((value / 2 ** exponent - 1) * 1024);
    };
    expect(tensors.get("transposed")).toMatchObject({ dtype: "F16", shape: [2, 4] });
    expect(halves("transposed")).toEqual([1, 7, 13, 19, 2, 8, 14, 20].map(half));
    expect(halves("row")).toEqual([13, 14, 15].map(half));
    expect(tensors.get("empty")).toMatchObject({ shape: [0, 6] });
    expect(halves("empty")).toEqual([]);
    expect(tensors.get("number")!.shape).toEqual([]);
    expect(halves("number")).toEqual([half(23)]);
  });

  test("offsets and strides, and the records of zip64", async () => {
    const pickle = op.pickle(dictionary([op.text("x"), tensor({ offset: 1, shape: [2], strides: [2] })]));
    for (const wide of [false, true]) {
      const entries = entriesOf({ pickle }).map((entry) => ({ ...entry, wide }));
      expect(numbersOf((await read(zip(entries, { wideEnd: wide }))).get("x")!)).toEqual([2, 4]);
    }
  });

  test("a state_dict, whose attributes are ignored", async () => {
    const ordered = op.call(op.name("collections", "OrderedDict"), Buffer.from(")"));
    const body = [ordered, Buffer.from("("), op.text("x"), tensor(), Buffer.from("u"), dictionary(), Buffer.from("b")];
    expect(numbersOf((await read(withPickle(op.pickle(...body)))).get("x")!)).toEqual([1, 2, 3, 4]);
  });

  test("a parameter is read as its tensor", async () => {
    const hooks = op.call(op.name("collections", "OrderedDict"), Buffer.from(")"));
    const needsGradient = Buffer.from("\x88", "latin1");
    expect(numbersOf((await read(withPickle(x(parameter(tensor(), [needsGradient, hooks]))))).get("x")!)).toEqual([
      1, 2, 3, 4,
    ]);
  });

  test("the check is asked before a storage is read", async () => {
    const fails = () => {
      throw new Error("no");
    };
    await expect(read(changed("a/data/0", { crc: 1 }), fails)).rejects.toThrow("no");
  });
});

const good = zip(entriesOf());
/** A parameter in a pickle. `more`: the arguments after the tensor. */
const parameter = (
  of: Buffer,
  more = [Buffer.from("\x89", "latin1"), op.call(op.name("collections", "OrderedDict"), Buffer.from(")"))],
) => op.call(op.name("torch._utils", "_rebuild_parameter"), op.tuple(of, ...more));
/** The start of a safetensors file. */
const safetensors = (header: string, length = header.length) => {
  const start = Buffer.alloc(8);
  start.writeBigUInt64LE(BigInt(length));
  return Buffer.concat([start, Buffer.from(header)]);
};
const x = (value: Buffer) => op.pickle(dictionary([op.text("x"), value]));

test.each<[what: string, bytes: Uint8Array | (() => Uint8Array), says: RegExp]>([
  ["an empty file", Buffer.alloc(0), /a file of torch\.save .* it is no zip archive \(0 bytes\)/],
  ["a text", Buffer.from("hello"), /no zip archive/],
  [
    "the old format",
    () => readFileSync(fixture("old_format.pth")),
    /format of torch before 1\.6; in Python, torch\.save\(/,
  ],
  ["a truncated file", good.subarray(0, good.length - 9), /end of a zip archive .* truncated/],
  ["half a file", good.subarray(0, good.length >> 1), /end of a zip archive .* truncated/],
  ["a wrong sum", changed("a/data/0", { crc: 7 }), /sum \(CRC-32\) 00000007 of "a\/data\/0"/],
  ["a wrong sum of data.pkl", changed("a/data.pkl", { crc: 7 }), /sum \(CRC-32\) 00000007 of "a\/data\.pkl"/],
  ["compression", changed("a/data/0", { method: 8 }), /without compression.*"a\/data\/0"/],
  ["encryption", changed("a/data/0", { flags: 1 }), /without encryption/],
  ["an entry beyond the file", changed("a/data/0", { size: 2 ** 31 }), /do not overlap.*2147483648 bytes/],
  ["an entry beyond 2^53", changed("a/data/0", { size: Number.MAX_SAFE_INTEGER, wide: true }), /do not overlap/],
  ["two entries in one place", changed("a/version", { start: 0 }), /do not overlap/],
  ["an entry that begins in another", changed("a/data/0", { start: 50 }), /do not overlap/],
  ["a name twice", zip([...entriesOf(), ...entriesOf()]), /"a\/data\.pkl" is there twice/],
  ["a directory that is short", zip(entriesOf(), { count: 5 }), /5 entries.*ends after 4/],
  ["no data.pkl", zip(entriesOf().slice(1)), /one data\.pkl.*none/],
  ["two of data.pkl", zip([...entriesOf(), { name: "b/data.pkl", data: Buffer.alloc(3) }]), /one data\.pkl.*it has 2/],
  ["big-endian numbers", zip(entriesOf({ order: "big" })), /little-endian numbers .*"big"/],
  [
    "another name",
    withPickle(x(op.call(op.name("os", "system"), op.tuple(op.text("ls"))))),
    /only collections\.OrderedDict, .* asks for "os\.system"/,
  ],
  ["a name by INST", withPickle(op.pickle(Buffer.from("(ios\nsystem\n"))), /asks for "os\.system"/],
  [
    "a parameter with a state",
    withPickle(x(op.name("torch._utils", "_rebuild_parameter_with_state"))),
    /asks for "torch\._utils\._rebuild_parameter_with_state"/,
  ],
  ["a parameter that is not called", withPickle(x(op.name("torch._utils", "_rebuild_parameter"))), /names and tensors/],
  ["a parameter of a number", withPickle(x(parameter(op.number(1)))), /parameters of a tensor .* found one of 1/],
  ["a parameter with one argument", withPickle(x(parameter(tensor(), []))), /parameters of a tensor/],
  [
    "float64",
    withTensor({ type: "DoubleStorage" }),
    /it has float64 \(torch\.DoubleStorage\).*v\.float\(\) for.*torch\.load\("/,
  ],
  ["int32", withTensor({ type: "IntStorage" }), /float32, float16 or bfloat16 in .* it has int32 .*v\.float\(\)/],
  ["a safetensors file", safetensors('{"x":1}'), /it is a safetensors file: a folder with adapter_config\.json/],
  ["a header longer than the file", safetensors('{"x":1}', 1000), /it is no zip archive/],
  ["a prototype's name", withTensor({ type: "constructor" }), /asks for "torch\.constructor"/],
  ["protocol 4", withPickle(Buffer.from([0x80, 4, 0x4e, 0x2e])), /protocol 2.*protocol 4/],
  ["no protocol", withPickle(Buffer.from("N.")), /begins with byte 78/],
  ["STACK_GLOBAL", withPickle(op.pickle(op.text("os"), op.text("system"), Buffer.from([0x93]))), /operation 147/],
  ["EXT1", withPickle(op.pickle(Buffer.from([0x82, 1]))), /operation 130/],
  ["a list", withPickle(op.pickle(Buffer.from("]"))), /operation 93 \(\]\)/],
  [
    "a pickle that ends early",
    withPickle(op.pickle(dictionary()).subarray(0, 3)),
    /1 bytes at 3 of its data\.pkl .* that ends at 3/,
  ],
  ["an empty stack", withPickle(op.pickle()), /stack is empty/],
  ["two values", withPickle(op.pickle(Buffer.from("NN"))), /one value/],
  ["no mark", withPickle(op.pickle(Buffer.from("t"))), /a mark in its data\.pkl/],
  ["a mark for a value", withPickle(op.pickle(Buffer.from("(\x85", "latin1"))), /found a mark/],
  [
    "nothing remembered",
    withPickle(op.pickle(Buffer.from("j\xff\xff\xff\xff", "latin1"))),
    /remembered value 4294967295/,
  ],
  [
    "a text without end",
    withPickle(op.pickle(Buffer.from("X\xff\xff\xff\xff", "latin1"))),
    /at most 1024 bytes .* one has 4294967295/,
  ],
  ["a name without end", withPickle(op.pickle(Buffer.from(`c${"a".repeat(300)}\nb\n`))), /at most 256 letters/],
  ["an integer of 9 bytes", withPickle(op.pickle(Buffer.from([0x8a, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9]))), /64 bits/],
  ["half a pair", withPickle(op.pickle(Buffer.from("}(Nu"))), /one lacks its value/],
  ["items of a number", withPickle(op.pickle(Buffer.from("K\x01NNs"))), /a dictionary in its data\.pkl .* but found 1/],
  [
    "a call of a class",
    withPickle(op.pickle(op.call(op.name("torch", "FloatStorage"), op.tuple()))),
    /calls of OrderedDict/,
  ],
  [
    "an OrderedDict of something",
    withPickle(op.pickle(op.call(op.name("collections", "OrderedDict"), op.tuple(op.number(1))))),
    /an empty OrderedDict/,
  ],
  [
    "a tensor of nothing",
    withPickle(x(op.call(op.name("torch._utils", "_rebuild_tensor_v2"), op.tuple()))),
    /tensors of a storage/,
  ],
  [
    "a storage of other parts",
    withPickle(x(Buffer.concat([op.tuple(op.text("storage")), Buffer.from("Q")]))),
    /storages with class, key/,
  ],
  ["a storage of -1 elements", withTensor({ count: -1 }), /storages with class, key/],
  ["no dictionary", withPickle(op.pickle(tensor())), /a dictionary of names and tensors.*it has tensor/],
  ["a number for a tensor", withPickle(x(op.number(5))), /names and tensors .*it has 5 for "x"/],
  ["a number for a name", withPickle(op.pickle(dictionary([op.number(5), tensor()]))), /names and tensors .*for 5/],
  [
    "a name of a tensor twice",
    withPickle(op.pickle(dictionary([op.text("x"), tensor()], [op.text("x"), tensor()]))),
    /"x" is there twice/,
  ],
  ["a missing storage", withTensor({ key: "9" }), /an entry data\/9/],
  ["a key of a prototype", withTensor({ key: "__proto__" }), /an entry data\/__proto__/],
  [
    "a storage of another size",
    withTensor({ count: 5 }),
    /20 bytes in "a\/data\/0" for 5 elements of F32 .* it has 16/,
  ],
  ["a storage of another dtype", withTensor({ type: "HalfStorage" }), /8 bytes in .* it has 16/],
  ["an offset beyond the storage", withTensor({ offset: 1 }), /"x" within the 4 elements of its storage .* up to 4/],
  [
    "an offset of nothing beyond the storage",
    withTensor({ offset: 5, shape: [0], strides: [1] }),
    /within the 4 elements/,
  ],
  ["a negative offset", withTensor({ offset: -1 }), /offset, sizes and strides of 0 or more/],
  ["a negative stride", withTensor({ offset: 3, shape: [4], strides: [-1] }), /strides of 0 or more/],
  ["a negative size", withTensor({ shape: [-1, 4] }), /sizes and strides of 0 or more/],
  ["a stride beyond the storage", withTensor({ shape: [2, 2], strides: [3, 1] }), /up to 4/],
  ["a stride of 2^53 - 1", withTensor({ shape: [2], strides: [Number.MAX_SAFE_INTEGER] }), /within the 4 elements/],
  ["fewer strides than sizes", withTensor({ strides: [1] }), /strides of 0 or more/],
  ["an element many times", withTensor({ shape: [2 ** 40, 2 ** 40], strides: [0, 0] }), /at most 4 elements in "x"/],
  ["9 dimensions", withTensor({ shape: Array(9).fill(1), strides: Array(9).fill(1) }), /at most 8 dimensions/],
])("refuses %s", async (_, bytes, says) => {
  await expect(read(typeof bytes === "function" ? bytes() : bytes)).rejects.toEqual(refused(says));
});

describe("limits", () => {
  test("torchEntries and torchDirectoryBytes", async () => {
    const fill = (count: number, name = "a/") =>
      Array.from({ length: count }, (_, at) => ({ name: `${name}${at}`, data: Buffer.alloc(0) }));
    const own = entriesOf();
    const most = [...own, ...fill(limits.torchEntries - own.length)];
    expect((await read(zip(most))).size).toBe(1);
    await expect(read(zip([...most, ...fill(1, "b/")]))).rejects.toEqual(
      refused(/at most 16384 entries .* it has 16385/),
    );
    const room = limits.torchDirectoryBytes - own.reduce((sum, { name }) => sum + 46 + name.length, 0);
    const named = (bytes: number) => {
      const [length, names] = [60_000, Math.floor(bytes / 60_046)];
      const last = bytes - names * 60_046 - 46;
      return [...Array.from({ length: names }, (_, at) => `${at}`.padStart(length, "n")), "m".repeat(last)];
    };
    const sized = (bytes: number) => zip([...own, ...named(bytes).map((name) => ({ name, data: Buffer.alloc(0) }))]);
    expect((await read(sized(room))).size).toBe(1);
    await expect(read(sized(room + 1))).rejects.toEqual(refused(/at most 4194304 bytes of a directory/));
  });

  test("torchPickleBytes, torchOperations and torchNameBytes", async () => {
    const filled = (count: number) => withPickle(op.pickle(dictionary(), Buffer.alloc(count, ")")));
    // PROTO, the four operations of an empty dictionary and the values: the last one allowed finds too many values.
    const room = limits.torchOperations - 5;
    await expect(read(filled(room))).rejects.toEqual(refused(/one value/));
    await expect(read(filled(room + 1))).rejects.toEqual(refused(/at most 262144 operations/));
    const long = (bytes: number) => withPickle(Buffer.concat([op.pickle(dictionary()), Buffer.alloc(bytes)]));
    const own = op.pickle(dictionary()).length;
    expect((await read(long(limits.torchPickleBytes - own))).size).toBe(0);
    await expect(read(long(limits.torchPickleBytes - own + 1))).rejects.toEqual(
      refused(/at most 4194304 bytes of "a\/data\.pkl"/),
    );
    const named = (length: number) => withPickle(op.pickle(dictionary([op.text("n".repeat(length)), tensor()])));
    expect((await read(named(limits.torchNameBytes))).size).toBe(1);
    await expect(read(named(limits.torchNameBytes + 1))).rejects.toEqual(refused(/texts of at most 1024 bytes/));
  });

  test("torchTensorBytes, of all storages as often as they are read", async () => {
    const storages = { 0: Buffer.alloc(limits.torchTensorBytes / 16) };
    const shared = (count: number) => {
      const one = tensor({ count: storages[0].length / 4, shape: [1], strides: [1] });
      const items = Array.from({ length: count }, (_, at): [Buffer, Buffer] => [op.text(`${at}`), one]);
      return zip(entriesOf({ pickle: op.pickle(dictionary(...items)), storages }));
    };
    expect((await read(shared(16))).size).toBe(16);
    await expect(read(shared(17))).rejects.toEqual(refused(/at most 268435456 bytes of tensors/));
  });
});

test("floats are kept to the bit", async () => {
  const values = floats(-0, 1e-45, -Infinity, Number.NaN);
  const tensors = await read(zip(entriesOf({ storages: { 0: values } })));
  expect(Buffer.from(tensors.get("x")!.data)).toEqual(values);
});
