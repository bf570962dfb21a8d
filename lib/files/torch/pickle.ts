/**
 * Reads the data.pkl of torch.save: the part of pickle's protocol 2 that describes dictionaries of tensors. Nothing is ever
 * called: a few names of Python stand for data here, and every other name is refused.
 * Source of the operations: CPython's Lib/pickletools.py.
 */
import { quoted } from "../../errors";
import { limits } from "../../limits";
import { torchFault } from "./zip";

/** Dtypes of storages that are read, by the class that stands for them. */
export const storageDtypes = { FloatStorage: "F32", HalfStorage: "F16", BFloat16Storage: "BF16" } as const;
export type TorchDtype = (typeof storageDtypes)[keyof typeof storageDtypes];

/** Dtypes of storages that are not read, by class, as torch names them. */
const otherStorages: ReadonlyMap<string, string> = new Map([
  ["DoubleStorage", "float64"],
  ["LongStorage", "int64"],
  ["IntStorage", "int32"],
  ["ShortStorage", "int16"],
  ["CharStorage", "int8"],
  ["ByteStorage", "uint8"],
  ["BoolStorage", "bool"],
  ["ComplexFloatStorage", "complex64"],
  ["ComplexDoubleStorage", "complex128"],
]);

/** The names of Python that are accepted. */
type Name =
  | { readonly kind: "name"; readonly name: "OrderedDict" | "rebuildTensor" | "rebuildParameter" }
  | { readonly kind: "name"; readonly name: "storage"; readonly dtype: TorchDtype };

/** A storage as the pickle describes it: the entry data/KEY, with `count` elements. */
export interface TorchStorage {
  readonly kind: "storage";
  readonly dtype: TorchDtype;
  readonly key: string;
  readonly count: number;
}

/** A tensor as the pickle describes it; its numbers are not checked. */
export interface DescribedTensor {
  readonly kind: "tensor";
  readonly storage: TorchStorage;
  readonly offset: unknown;
  readonly shape: unknown;
  readonly strides: unknown;
}

export interface Dictionary {
  readonly kind: "dictionary";
  readonly items: [key: unknown, value: unknown][];
}

interface Tuple {
  readonly kind: "tuple";
  readonly items: readonly unknown[];
}

const mark = { kind: "mark" } as const;
/** Letters of a name of Python, at most. */
const nameLetters = 256;

/** The kind of a value, or undefined for numbers, texts and the like. */
const kindOf = (value: unknown): string | undefined =>
  typeof value === "object" && value !== null ? (value as { kind: string }).kind : undefined;

/** The items of a tuple. */
export function tupleItems(value: unknown): readonly unknown[] | undefined {
  return kindOf(value) === "tuple" ? (value as Tuple).items : undefined;
}

export const isDictionary = (value: unknown): value is Dictionary => kindOf(value) === "dictionary";
export const isTensor = (value: unknown): value is DescribedTensor => kindOf(value) === "tensor";

/** What a value is, for messages. */
export const describeValue = (value: unknown) =>
  kindOf(value) ?? (value === null ? "None" : typeof value === "string" ? quoted(value) : String(value));

class Unpickler {
  private at = 0;
  private readonly stack: unknown[] = [];
  private readonly memo = new Map<number, unknown>();

  constructor(
    private readonly bytes: Buffer,
    private readonly path: string,
  ) {}

  /** @throws RubricateError ERR_TORCH_FILE */
  run(): unknown {
    for (let operations = 1; ; operations++) {
      if (operations > limits.torchOperations)
        throw this.fault(`at most ${limits.torchOperations} operations in its data.pkl`, "it has more");
      const code = this.take(1)[0]!;
      if (code === 0x2e) break; // STOP
      if (operations === 1 && code !== 0x80) throw this.fault("a pickle", `it begins with byte ${code}`);
      const operation = operationsByCode.get(code);
      if (!operation) {
        const letter = code > 0x20 && code < 0x7f ? ` (${String.fromCharCode(code)})` : "";
        throw this.fault("only what torch.save writes for tensors", `its data.pkl has operation ${code}${letter}`);
      }
      operation(this);
    }
    const value = this.pop();
    if (this.stack.length > 0) throw this.fault("one value in its data.pkl", "it has several");
    return value;
  }

  fault(what: string, found: string) {
    return torchFault(this.path, what, found);
  }

  take(count: number): Buffer {
    const end = this.at + count;
    if (end > this.bytes.length)
      throw this.fault(`${count} bytes at ${this.at} of its data.pkl`, `that ends at ${this.bytes.length}`);
    const taken = this.bytes.subarray(this.at, end);
    this.at = end;
    return taken;
  }

  /** A line of text, without its end. */
  line(): string {
    const end = this.bytes.indexOf(10, this.at);
    if (end < 0 || end - this.at > nameLetters)
      throw this.fault(`a name of at most ${nameLetters} letters at ${this.at} of its data.pkl`, "found none");
    const text = this.take(end - this.at).toString("utf8");
    this.take(1);
    return text;
  }

  push(value: unknown): void {
    this.stack.push(value);
  }

  pop(): unknown {
    if (this.stack.length === 0) throw this.fault("a value in its data.pkl", "its stack is empty");
    const value = this.stack.pop();
    if (value === mark) throw this.fault("a value in its data.pkl", "found a mark");
    return value;
  }

  /** The last `count` values, first to last. */
  popMany(count: number): unknown[] {
    return Array.from({ length: count }, () => this.pop()).reverse();
  }

  /** The values after the last mark. */
  popToMark(): unknown[] {
    const at = this.stack.lastIndexOf(mark);
    if (at < 0) throw this.fault("a mark in its data.pkl", "found none");
    const values = this.stack.splice(at);
    values.shift();
    return values;
  }

  remember(index: number): void {
    const value = this.pop();
    this.memo.set(index, value);
    this.push(value);
  }

  recall(index: number): void {
    if (!this.memo.has(index)) throw this.fault(`a remembered value ${index} in its data.pkl`, "found none");
    this.push(this.memo.get(index));
  }

  dictionary(): Dictionary {
    const value = this.pop();
    if (!isDictionary(value)) throw this.fault("a dictionary in its data.pkl", `found ${describeValue(value)}`);
    return value;
  }

  setItems(values: unknown[]): void {
    const owner = this.dictionary();
    if (values.length % 2 !== 0) throw this.fault("pairs of a dictionary", "one lacks its value");
    for (let at = 0; at < values.length; at += 2) owner.items.push([values[at], values[at + 1]]);
    this.push(owner);
  }

  /** A name of Python; few are accepted. */
  name(module: string, name: string): Name {
    const full = `${module}.${name}`;
    if (full === "collections.OrderedDict") return { kind: "name", name: "OrderedDict" };
    if (full === "torch._utils._rebuild_tensor_v2") return { kind: "name", name: "rebuildTensor" };
    if (full === "torch._utils._rebuild_parameter") return { kind: "name", name: "rebuildParameter" };
    if (module === "torch" && Object.hasOwn(storageDtypes, name))
      return { kind: "name", name: "storage", dtype: storageDtypes[name as keyof typeof storageDtypes] };
    if (module === "torch" && otherStorages.has(name))
      throw this.fault(
        "float32, float16 or bfloat16",
        `it has ${otherStorages.get(name)} (${full}); in Python, torch.save({k: v.float() for k, v in ` +
          `torch.load(${JSON.stringify(this.path)}, map_location="cpu").items()}, "converted.pth") converts it`,
      );
    throw this.fault(
      `only collections.OrderedDict, torch._utils._rebuild_tensor_v2, torch._utils._rebuild_parameter and torch.${Object.keys(storageDtypes).join(", torch.")}`,
      `its data.pkl asks for ${quoted(full)}`,
    );
  }

  /** What calling a name gives. */
  reduce(): void {
    const items = tupleItems(this.pop());
    const called = this.pop() as Name;
    if (kindOf(called) !== "name" || called.name === "storage" || items === undefined)
      throw this.fault(
        "calls of OrderedDict, _rebuild_tensor_v2 and _rebuild_parameter in its data.pkl",
        `found one of ${describeValue(called)}`,
      );
    if (called.name === "OrderedDict") {
      if (items.length > 0) throw this.fault("an empty OrderedDict", `found one of ${items.length} arguments`);
      this.push({ kind: "dictionary", items: [] } satisfies Dictionary);
      return;
    }
    if (called.name === "rebuildParameter") {
      // The tensor, whether it needs a gradient, and its hooks.
      if (!isTensor(items[0]) || items.length !== 3)
        throw this.fault("parameters of a tensor", `found one of ${describeValue(items[0])}`);
      this.push(items[0]);
      return;
    }
    const [storage, offset, shape, strides] = items;
    if (kindOf(storage) !== "storage" || items.length < 6 || items.length > 7)
      throw this.fault("tensors of a storage", `found one of ${describeValue(storage)} and ${items.length} arguments`);
    this.push({ kind: "tensor", storage: storage as TorchStorage, offset, shape, strides } satisfies DescribedTensor);
  }

  /** A storage: ("storage", class, key, device, count). The device is ignored. */
  persistent(): void {
    const items = tupleItems(this.pop());
    const [word, type, key, , count] = items ?? [];
    const dtype = kindOf(type) === "name" ? (type as { dtype?: TorchDtype }).dtype : undefined;
    const holds =
      items?.length === 5 && word === "storage" && dtype && typeof key === "string" && Number.isSafeInteger(count);
    if (!holds || (count as number) < 0)
      throw this.fault("storages with class, key, device and count in its data.pkl", "found another one");
    this.push({ kind: "storage", dtype, key, count: count as number } satisfies TorchStorage);
  }
}

const tuple = (items: readonly unknown[]): Tuple => ({ kind: "tuple", items });

function protocol(of: Unpickler): void {
  const version = of.take(1)[0]!;
  if (version !== 2)
    throw of.fault("protocol 2 of pickle, torch.save's default,", `its data.pkl has protocol ${version}`);
}

function unicode(of: Unpickler): void {
  const length = of.take(4).readUInt32LE();
  if (length > limits.torchNameBytes)
    throw of.fault(`texts of at most ${limits.torchNameBytes} bytes in its data.pkl`, `one has ${length}`);
  of.push(of.take(length).toString("utf8"));
}

/** LONG1: little-endian, two's complement. */
function long(of: Unpickler): void {
  const bytes = of.take(of.take(1)[0]!);
  if (bytes.length > 8) throw of.fault("whole numbers of 64 bits in its data.pkl", `one has ${bytes.length} bytes`);
  const value = bytes.reduce((sum, byte, at) => sum | (BigInt(byte) << BigInt(8 * at)), 0n);
  of.push(Number(BigInt.asIntN(8 * bytes.length, value)));
}

/** What BUILD sets are attributes, such as a state_dict's _metadata: a dictionary of tensors has none that count. */
function build(of: Unpickler): void {
  of.dictionary();
  of.push(of.dictionary());
}

const operationsByCode: ReadonlyMap<number, (of: Unpickler) => void> = new Map(
  Object.entries<(of: Unpickler) => void>({
    "\x80": protocol,
    "}": (of) => of.push({ kind: "dictionary", items: [] } satisfies Dictionary),
    ")": (of) => of.push(tuple([])),
    "(": (of) => of.push(mark),
    N: (of) => of.push(null),
    "\x88": (of) => of.push(true),
    "\x89": (of) => of.push(false),
    K: (of) => of.push(of.take(1)[0]),
    M: (of) => of.push(of.take(2).readUInt16LE()),
    J: (of) => of.push(of.take(4).readInt32LE()),
    "\x8a": long,
    X: unicode,
    q: (of) => of.remember(of.take(1)[0]!),
    r: (of) => of.remember(of.take(4).readUInt32LE()),
    h: (of) => of.recall(of.take(1)[0]!),
    j: (of) => of.recall(of.take(4).readUInt32LE()),
    t: (of) => of.push(tuple(of.popToMark())),
    "\x85": (of) => of.push(tuple(of.popMany(1))),
    "\x86": (of) => of.push(tuple(of.popMany(2))),
    "\x87": (of) => of.push(tuple(of.popMany(3))),
    s: (of) => of.setItems(of.popMany(2)),
    u: (of) => of.setItems(of.popToMark()),
    c: (of) => of.push(of.name(of.line(), of.line())), // GLOBAL
    i: (of) => of.push(of.name(of.line(), of.line())), // INST, whose arguments are refused later
    R: (of) => of.reduce(),
    Q: (of) => of.persistent(),
    b: build,
  }).map(([letter, operation]) => [letter.charCodeAt(0), operation]),
);

/**
 * The value of a data.pkl.
 * @param path of the archive, for messages
 * @throws RubricateError ERR_TORCH_FILE
 */
export const unpickled = (bytes: Buffer, path: string): unknown => new Unpickler(bytes, path).run();
