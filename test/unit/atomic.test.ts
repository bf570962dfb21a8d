import { mkdirSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { removeFolder, removeLeftovers, writeFolder, writeInto } from "../../lib/files/atomic";
import { readableFile } from "../../lib/files/read_together";
import { float32Tensor, safetensorsPieces } from "../../lib/files/safetensors";
import { type Failure, temporaryFolder, withFailureAt } from "./failing_files";

let root: string;
beforeEach(() => {
  root = temporaryFolder();
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const files = (version: string) => [
  { name: "a.json", data: `{"version":"${version}"}` },
  { name: "b.bin", data: [Buffer.from(`first ${version} `), Buffer.from(`second ${version}`)] },
];

/** The version of a folder's two files; fails if they differ or one is truncated. */
async function versionIn(folder: string): Promise<string> {
  const [a, b] = await Promise.all(
    ["a.json", "b.bin"].map(async (name) => readFileSync(await readableFile(folder, name), "utf8")),
  );
  const { version } = JSON.parse(a!);
  expect(b).toBe(`first ${version} second ${version}`);
  return version;
}

/** The number of file operations of some work. */
async function operationsOf(work: () => Promise<unknown>): Promise<string[]> {
  const { operations, error } = await withFailureAt(-1, "EIO", work);
  expect(error).toBeUndefined();
  return operations;
}

describe("writeInto", () => {
  test("creates folders, replaces its files and does not touch others", async () => {
    const folder = join(root, "deep", "er");
    await writeInto(folder, files("1"));
    writeFileSync(join(folder, "notes.txt"), "mine");
    await writeInto(folder, files("2"));
    expect(await versionIn(folder)).toBe("2");
    expect(readdirSync(folder).sort()).toEqual(["a.json", "b.bin", "notes.txt"]);
  });

  test("syncs each file before the rename that declares it valid, and the folder after it", async () => {
    mkdirSync(join(root, "x"));
    const operations = await operationsOf(() => writeInto(join(root, "x"), files("1")));
    const file = (writes: number) => ["create", ...Array(writes).fill("write"), "sync"];
    const staged = [...file(1), ...file(1), ...file(2), "syncFolder"]; // the list of the files comes first
    const moved = ["rename", "syncFolder", "rename", "rename", "syncFolder", "remove", "removeEmpty"];
    expect(operations).toEqual(["makeFolder", "makeFolder", ...staged, ...moved]);
  });

  const failures: Failure[] = ["ENOSPC", "EIO", "power cut", "power cut, unflushed data lost"];
  test.each(failures)("leaves the old files or all of the new ones, whichever operation meets %s", async (failure) => {
    const template = join(root, "template");
    await writeInto(template, files("old"));
    const count = (await operationsOf(() => writeInto(template, files("old")))).length;
    const seen = new Set<string>();
    for (let at = 0; at < count; at++) {
      const folder = join(root, `f${at}`);
      await writeInto(folder, files("old"));
      const { operations, error } = await withFailureAt(at, failure, () => writeInto(folder, files("new")));
      expect(operations.length).toBeGreaterThan(at);
      expect(error).toMatchObject({ code: "ERR_FILE", message: expect.stringContaining(folder) });
      if (!failure.startsWith("power"))
        expect(error).toMatchObject({ message: expect.stringContaining(failure), cause: { code: failure } });
      const version = await versionIn(folder);
      seen.add(version);
      if (version === "old" && !failure.startsWith("power"))
        expect(readdirSync(folder).sort()).toEqual(["a.json", "b.bin"]);
      await writeInto(folder, files("newer"));
      expect(await versionIn(folder)).toBe("newer");
      expect(readdirSync(folder)).not.toContain(".rubricate-commit");
    }
    expect([...seen].sort()).toEqual(["new", "old"]);
  });

  test("continues after a short write", async () => {
    const folder = join(root, "short");
    const operations = await operationsOf(() => writeInto(folder, files("0")));
    for (const [at, name] of operations.entries()) {
      if (name !== "write") continue;
      const { error } = await withFailureAt(at, "short write", () => writeInto(folder, files(`${at}`)));
      expect(error).toBeUndefined();
      expect(await versionIn(folder)).toBe(`${at}`);
    }
  });

  test("removes files that a writer left an hour ago, not newer ones", async () => {
    const old = join(root, ".rubricate-new-0123");
    const young = join(root, ".rubricate-new-4567");
    mkdirSync(old);
    mkdirSync(young);
    utimesSync(old, new Date(Date.now() - 3700e3), new Date(Date.now() - 3700e3));
    await writeInto(root, files("1"));
    expect(readdirSync(root).sort()).toEqual([".rubricate-new-4567", "a.json", "b.bin"]);
  });

  test("names the path and the cause if it cannot write", async () => {
    writeFileSync(join(root, "file"), "");
    await expect(writeInto(join(root, "file", "x"), files("1"))).rejects.toMatchObject({
      code: "ERR_FILE",
      message: expect.stringMatching(/file\/x: ENOTDIR/),
    });
  });
});

describe("writeFolder", () => {
  const failures: Failure[] = ["ENOSPC", "EIO", "power cut", "power cut, unflushed data lost"];
  test.each(failures)("leaves the whole folder or none, whichever operation meets %s", async (failure) => {
    const count = (await operationsOf(() => writeFolder(join(root, "template"), files("1")))).length;
    for (let at = 0; at < count; at++) {
      const folder = join(root, `d${at}`, "checkpoint");
      mkdirSync(join(root, `d${at}`));
      const { error } = await withFailureAt(at, failure, () => writeFolder(folder, files("1")));
      expect(error).toMatchObject({ code: "ERR_FILE" });
      const there = readdirSync(join(root, `d${at}`)).includes("checkpoint");
      if (there) expect(await versionIn(folder)).toBe("1");
      await removeLeftovers(join(root, `d${at}`));
      expect(readdirSync(join(root, `d${at}`))).toEqual(there ? ["checkpoint"] : []);
    }
  });

  test("replaces and removes whole folders", async () => {
    const folder = join(root, "checkpoint");
    mkdirSync(folder);
    writeFileSync(join(folder, "damaged"), "");
    await writeFolder(folder, files("1"));
    expect(readdirSync(folder).sort()).toEqual(["a.json", "b.bin"]);
    await removeFolder(folder);
    expect(readdirSync(root)).toEqual([]);
  });
});

describe("safetensorsPieces", () => {
  test("lays a file out as the format's own writer does", async () => {
    const tensors = [
      { name: "half", dtype: "BF16" as const, shape: [3], data: () => Uint8Array.of(1, 2, 3, 4, 5, 6) },
      float32Tensor("b", [2], Float32Array.of(1, -2)),
      float32Tensor("a", [1, 1], Float32Array.of(0.5)),
    ];
    const pieces: Uint8Array[] = [];
    for await (const piece of safetensorsPieces(tensors, { format: "pt" })) pieces.push(piece);
    const bytes = Buffer.concat(pieces);
    const length = Number(bytes.readBigUInt64LE());
    expect(length % 8).toBe(0);
    expect(bytes.subarray(8, 8 + length).toString()).toMatch(
      /^\{"__metadata__":\{"format":"pt"\},"a":\{"dtype":"F32","shape":\[1,1\],"data_offsets":\[0,4\]\},"b":\{"dtype":"F32","shape":\[2\],"data_offsets":\[4,12\]\},"half":\{"dtype":"BF16","shape":\[3\],"data_offsets":\[12,18\]\}\} *$/,
    );
    expect(bytes.length).toBe(8 + length + 18);
    expect(bytes.readFloatLE(8 + length)).toBe(0.5);
    expect(bytes.readFloatLE(8 + length + 8)).toBe(-2);
  });

  test("refuses data that do not fit the shape", async () => {
    const pieces = safetensorsPieces([float32Tensor("a", [3], Float32Array.of(1, 2))]);
    await expect(async () => {
      for await (const _ of pieces);
    }).rejects.toMatchObject({ code: "ERR_SHAPE" });
  });
});
