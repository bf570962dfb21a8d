/** Folders with forged or interrupted writes, links in place of files, and concurrent writers. */
import {
  chownSync,
  cpSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import fs from "node:fs/promises";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { writeInto } from "../../lib/files/atomic";
import { commitFolder, commitList, finishCommit, pendingCommit } from "../../lib/files/commit";
import { replaceFileOperations } from "../../lib/files/operations";
import { finishInto, readableFile, readTogether } from "../../lib/files/read_together";
import { LanguageModel } from "../../lib/index";
import { limits } from "../../lib/limits";
import { writeModel } from "./cli_support";
import { temporaryFolder, withFailureAt } from "./failing_files";

let root: string;
let folder: string;
beforeEach(() => {
  root = temporaryFolder();
  folder = join(root, "out");
  mkdirSync(folder);
  writeFileSync(join(folder, "a.json"), "visible");
});
afterEach(() => {
  replaceFileOperations(undefined);
  rmSync(root, { recursive: true, force: true });
});

const files = (version: string) => ["a.json", "b.bin"].map((name) => ({ name, data: version }));
const textOf = async (name: string) => readFileSync(await readableFile(folder, name), "utf8");
/** All files below a folder, without following links. */
const tree = (path: string) =>
  readdirSync(path, { recursive: true, encoding: "utf8" })
    .sort()
    .map((name) => [name, lstatSync(join(path, name)).isFile() ? readFileSync(join(path, name), "utf8") : ""]);

/** A commit with a list like that of a write. */
async function makeCommit(target: string, names: readonly string[], listed = names, madeIn = target): Promise<void> {
  mkdirSync(commitFolder(target));
  const list = await commitList(madeIn, listed);
  writeFileSync(join(commitFolder(target), list.name), list.data);
  for (const name of names) writeFileSync(join(commitFolder(target), name), "new");
}

test("a valid commit is read, and finished by the next writer or reader", async () => {
  await makeCommit(folder, ["a.json", "b.bin"]);
  expect([await textOf("a.json"), await textOf("b.bin")]).toEqual(["new", "new"]);
  await finishInto(folder);
  expect(tree(folder)).toEqual([
    ["a.json", "new"],
    ["b.bin", "new"],
  ]);
});

const forged: [string, RegExp, () => unknown][] = [
  ["a link", /it is not a folder/, () => symlinkSync(join(root, "victim"), commitFolder(folder))],
  ["a link into nothing", /it is not a folder/, () => symlinkSync(join(root, "none"), commitFolder(folder))],
  ["a file", /it is not a folder/, () => writeFileSync(commitFolder(folder), "")],
  ["without a list", /it has no list/, () => cpSync(join(root, "victim"), commitFolder(folder), { recursive: true })],
  [
    "made in another folder",
    /it was made in another folder/,
    () => makeCommit(folder, ["a.json"], ["a.json"], join(root, "victim")),
  ],
  [
    "with a file that is not listed",
    /does not name id_rsa/,
    () => makeCommit(folder, ["a.json", "id_rsa"], ["a.json"]),
  ],
  [
    "with a link",
    /a.json in it is not a regular file/,
    async () => {
      await makeCommit(folder, [], ["a.json"]);
      symlinkSync(join(root, "victim", "id_rsa"), join(commitFolder(folder), "a.json"));
    },
  ],
  [
    "with a folder",
    /deep in it is not a regular file/,
    async () => {
      await makeCommit(folder, ["a.json"], ["a.json", "deep"]);
      mkdirSync(join(commitFolder(folder), "deep"));
    },
  ],
  [
    "with a list that is malformed",
    /list is malformed/,
    async () => {
      await makeCommit(folder, ["a.json"]);
      const list = readdirSync(commitFolder(folder)).find((name) => name.startsWith("list-"))!;
      writeFileSync(join(commitFolder(folder), list), "[]");
    },
  ],
];

test.each(forged)("a commit that is %s is refused, and nothing is moved or read", async (_, says, make) => {
  mkdirSync(join(root, "victim"));
  writeFileSync(join(root, "victim", "id_rsa"), "secret");
  writeFileSync(join(root, "victim", "a.json"), "theirs");
  await make();
  const before = tree(root);
  const refused = { code: "ERR_FILE", message: expect.stringMatching(says) };
  await expect(writeInto(folder, files("new"))).rejects.toMatchObject(refused);
  await expect(readableFile(folder, "a.json")).rejects.toMatchObject(refused);
  await expect(finishInto(folder)).rejects.toMatchObject(refused);
  expect(tree(root)).toEqual(before);
});

test("a commit may have commitFiles files, and no more, and those that are not listed are not looked at", async () => {
  const names = Array.from({ length: limits.commitFiles }, (_, at) => `f${at}`);
  await makeCommit(folder, names);
  expect((await pendingCommit(folder))!.waiting).toHaveLength(limits.commitFiles);
  const looks = jest.spyOn(fs, "lstat");
  writeFileSync(join(commitFolder(folder), "one more"), "");
  await expect(pendingCommit(folder)).rejects.toMatchObject({
    code: "ERR_FILE",
    message: expect.stringMatching(/it has more than 8192 files/),
  });
  rmSync(join(commitFolder(folder), "f0"));
  await expect(pendingCommit(folder)).rejects.toMatchObject({
    message: expect.stringMatching(/does not name one more/),
  });
  expect(looks.mock.calls.map(([path]) => path)).not.toContain(join(commitFolder(folder), "f1"));
  expect(looks).toHaveBeenCalled();
  looks.mockRestore();
});

test("a commit of the folder's owner is read by others; one of a third user is refused", async () => {
  await makeCommit(folder, ["a.json"]);
  const own = jest.spyOn(process as { getuid(): number }, "getuid").mockReturnValue(statSync(folder).uid + 1);
  try {
    expect((await pendingCommit(folder))?.waiting).toEqual(["a.json"]);
    if (process.geteuid?.() !== 0) return; // only root can give files away
    chownSync(commitFolder(folder), 12345, 12345);
    await expect(pendingCommit(folder)).rejects.toMatchObject({ message: expect.stringMatching(/to another user/) });
  } finally {
    own.mockRestore();
  }
});

test("a model whose save was interrupted is complete when it is loaded", async () => {
  await writeModel(join(root, "model"));
  const model = await LanguageModel.fromPretrained(join(root, "model"));
  await model.savePretrained(join(root, "whole"));
  const { operations } = await withFailureAt(-1, "EIO", () => model.savePretrained(join(root, "whole")));
  const moving = operations.indexOf("rename", operations.indexOf("rename") + 1);
  rmSync(join(folder, "a.json"));
  await withFailureAt(moving, "power cut", () => model.savePretrained(folder));
  model.dispose();
  expect(readdirSync(folder)).not.toContain("model.safetensors");
  (await LanguageModel.fromPretrained(folder)).dispose();
  expect(tree(folder)).toEqual(tree(join(root, "whole")));
});

test("a link in place of a file is replaced, and its target stays", async () => {
  writeFileSync(join(root, "victim"), "theirs");
  rmSync(join(folder, "a.json"));
  symlinkSync(join(root, "victim"), join(folder, "a.json"));
  symlinkSync(folder, join(root, "link"));
  await writeInto(join(root, "link"), files("new"));
  expect(readFileSync(join(root, "victim"), "utf8")).toBe("theirs");
  expect(lstatSync(join(root, "link")).isSymbolicLink()).toBe(true);
  expect(tree(folder)).toEqual([
    ["a.json", "new"],
    ["b.bin", "new"],
  ]);
});

test("a folder in place of a file is refused before anything is written", async () => {
  mkdirSync(join(folder, "b.bin"));
  const before = tree(root);
  await expect(writeInto(folder, files("new"))).rejects.toMatchObject({
    code: "ERR_FILE",
    message: expect.stringMatching(/Expected a file or nothing to replace at .*b.bin but it is a folder/),
  });
  expect(tree(root)).toEqual(before);
});

test("many writes by one process are each atomic, and the last one wins", async () => {
  async function* slowly(text: string) {
    yield Buffer.from(text);
    await setTimeout(200); // the other writes would have finished by then
  }
  const slow = ["a.json", "b.bin"].map((name) => ({ name, data: slowly("slow") }));
  const versions = Array.from({ length: 20 }, (_, at) => `${at}`);
  await Promise.all([writeInto(folder, slow), ...versions.map((version) => writeInto(folder, files(version)))]);
  expect(tree(folder)).toEqual([
    ["a.json", "19"],
    ["b.bin", "19"],
  ]);
});

test("writes by several processes take turns, and a concurrent reader finds one of them complete", async () => {
  // Each copy of the module has its own record of writers, like another process.
  const copies = Array.from({ length: 4 }, () => {
    let copy: { writeInto: typeof writeInto } | undefined;
    jest.isolateModules(() => {
      copy = require("../../lib/files/atomic");
    });
    return copy!;
  });
  let writing = true;
  const seen = new Set<string>();
  await writeInto(folder, files("start"));
  const reading = (async () => {
    while (writing) {
      const read = async () => [await textOf("a.json"), await textOf("b.bin")];
      const [a, b] = await readTogether(folder, ["a.json", "b.bin"], read, () => {});
      expect(a).toBe(b);
      seen.add(a!);
    }
  })();
  const rounds = copies.map(async (copy, number) => {
    for (let round = 0; round < 15 || seen.size < 4; round++) {
      await copy.writeInto(folder, files(`${number}-${round}`));
      await setTimeout((number + round * 7) % 20); // lets the reader run
    }
  });
  await Promise.all(rounds);
  writing = false;
  await reading;
  expect(await textOf("a.json")).toBe(await textOf("b.bin"));
  expect(readdirSync(folder).sort()).toEqual(["a.json", "b.bin"]);
});

test("finishing another process's commit too late does not remove the next one", async () => {
  await makeCommit(folder, ["a.json"]);
  replaceFileOperations((real) => ({
    ...real,
    async removeEmpty(path) {
      rmSync(path, { recursive: true }); // by another process, which then commits something else
      await makeCommit(folder, ["b.bin"]);
      return real.removeEmpty(path);
    },
  }));
  await finishCommit(folder);
  replaceFileOperations(undefined);
  expect(await textOf("b.bin")).toBe("new");
});

test("files that are replaced again and again are not read as a mixture", async () => {
  let reads = 0;
  let discarded = 0;
  const read = async () => {
    await writeInto(folder, files(`${reads++}`));
    return reads;
  };
  const reading = readTogether(folder, ["a.json", "b.bin"], read, () => discarded++);
  await expect(reading).rejects.toMatchObject({ code: "ERR_FILE", message: expect.stringContaining("keep writing") });
  expect(discarded).toBe(reads);
  await expect(
    readTogether(
      folder,
      ["a.json"],
      async () => (reads++ < 502 ? writeInto(folder, files("x")) : undefined),
      () => {},
    ),
  ).resolves.toBeUndefined();
}, 600_000); // a thousand files reach the disk
