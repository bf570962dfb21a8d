/** Damages a file of torch.save: bytes of the archive, or the description of its tensors with sums that are right again. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { parity, rubricate } from "./package.mjs";

const { LanguageModel, RedAdapter } = rubricate;

/** The entries of an archive without zip64, as torch writes small ones. */
function entriesOf(bytes) {
  const end = bytes.lastIndexOf("PK\x05\x06", undefined, "latin1");
  const entries = [];
  for (let at = bytes.readUInt32LE(end + 16), left = bytes.readUInt16LE(end + 10); left > 0; left--) {
    const [name, extra, comment] = [28, 30, 32].map((place) => bytes.readUInt16LE(at + place));
    const start = bytes.readUInt32LE(at + 42);
    const dataAt = start + 30 + bytes.readUInt16LE(start + 26) + bytes.readUInt16LE(start + 28);
    const size = bytes.readUInt32LE(at + 24);
    entries.push({
      name: bytes.toString("utf8", at + 46, at + 46 + name),
      data: bytes.subarray(dataAt, dataAt + size),
    });
    at += 46 + name + extra + comment;
  }
  return entries;
}

function zipped(entries) {
  const [bodies, directory] = [[], []];
  let start = 0;
  for (const { name, data } of entries) {
    const [local, central, title] = [Buffer.alloc(30), Buffer.alloc(46), Buffer.from(name)];
    local.writeUInt32LE(0x04034b50, 0);
    local.writeUInt16LE(title.length, 26);
    central.writeUInt32LE(0x02014b50, 0);
    central.writeUInt32LE(crc32(data), 16);
    central.writeUInt32LE(data.length, 20);
    central.writeUInt32LE(data.length, 24);
    central.writeUInt16LE(title.length, 28);
    central.writeUInt32LE(start, 42);
    bodies.push(local, title, data);
    directory.push(central, title);
    start += 30 + title.length + data.length;
  }
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(entries.length, 8);
  end.writeUInt16LE(entries.length, 10);
  end.writeUInt32LE(Buffer.concat(directory).length, 12);
  end.writeUInt32LE(start, 16);
  return Buffer.concat([...bodies, ...directory, end]);
}

/** Bytes with some replaced, removed, copied to elsewhere, or inserted from `pieces`. */
function damaged(random, bytes, pieces) {
  let result = Buffer.from(bytes);
  for (let changes = 1 + random.below(4); changes > 0; changes--) {
    const at = random.below(result.length + 1);
    const [before, after] = [result.subarray(0, at), result.subarray(at)];
    const copied = result.subarray(random.below(result.length + 1)).subarray(0, random.below(40));
    const kinds = [
      () => [before, Buffer.from([random.below(256)]), after.subarray(1)],
      () => [before, after.subarray(random.below(20))],
      () => [before, copied, after],
      () => [before, Buffer.from(random.pick(pieces), "latin1"), after],
    ];
    result = Buffer.concat(random.pick(kinds)());
  }
  return result;
}

const operations = [
  "cos\nsystem\n(X\x02\x00\x00\x00lst\x85R",
  "ccollections\nOrderedDict\n)R",
  "(((((((((",
  "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f",
  "\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x80",
  "h\x00",
  "q\x00",
  "u",
  "t",
  "Q",
  "R",
  "b",
  ".",
];
const records = ["PK\x05\x06", "PK\x01\x02", "PK\x03\x04", "\xff\xff\xff\xff", "\xff\xff", "\x01\x00\x18\x00"];

export const torchTarget = {
  async prepare() {
    const model = await LanguageModel.fromPretrained(join(parity, "gqa"), { device: "cpu", dtype: "float32" });
    return { model, bytes: readFileSync(join(parity, "reference", "llama", "delta_vector.pth")) };
  },
  async run(random, home, attempt, { model, bytes }) {
    const file = join(home, "delta_vector.pth");
    const entries = entriesOf(bytes).map(({ name, data }) =>
      name.endsWith(".pkl") || random.chance(0.1) ? { name, data: damaged(random, data, operations) } : { name, data },
    );
    writeFileSync(file, random.chance(0.7) ? zipped(entries) : damaged(random, bytes, records));
    const adapter = await attempt(() => RedAdapter.fromReference(file, model));
    if (!adapter) return;
    await attempt(() => model.logits([1, 2], { adapter }));
    adapter.dispose();
  },
};
