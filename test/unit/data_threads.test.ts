/** All datasets share two threads: each has its own rows and its own errors, whatever else its thread holds. */
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { Dataset, type DatasetOptions } from "../../lib/data/dataset";
import { encodeLine } from "../../lib/data/encode_row";
import { Tokenizer } from "../../lib/tokenizer/tokenizer";
import { watchedThreads } from "./data_thread_support";

const fixtures = path.join(__dirname, "..", "parity", "fixtures", "tokenizer");
const folder = mkdtempSync(path.join(tmpdir(), "rubricate-threads-"));
afterAll(() => rmSync(folder, { recursive: true }));

let options: DatasetOptions;
let others: DatasetOptions;
beforeAll(async () => {
  const { files } = await Tokenizer.fromPretrained(path.join(fixtures, "byte_level"));
  const chatTemplate = readFileSync(path.join(fixtures, "chatml.jinja"), "utf8");
  options = { tokenizer: new Tokenizer({ ...files, chatTemplate }), maxLength: 64 };
  others = { tokenizer: await Tokenizer.fromPretrained(path.join(fixtures, "llama")), maxLength: 24 };
});

const open: Dataset[] = [];
afterEach(async () => {
  for (const data of open.splice(0)) await data.dispose();
});

/** In the order of the calls each is given to the thread that holds fewer: with none open, the 1st, 3rd, ... share one. */
async function made(rows: readonly unknown[], given: DatasetOptions = options): Promise<Dataset> {
  const data = await Dataset.fromRows(rows, given);
  open.push(data);
  return data;
}

const rowsOf = (seed: number) =>
  Array.from({ length: 5 + (seed % 4) }, (_, at) => ({
    prompt: `What of ${seed}, ${at}?`,
    completion: ` ${at} of ${seed}`,
  }));

function expected(rows: readonly unknown[], { tokenizer, maxLength }: DatasetOptions) {
  const encoded = rows.map((row) =>
    encodeLine(Buffer.from(JSON.stringify(row)), tokenizer, { format: "auto", loss: "completion", maxLength }),
  );
  return encoded.map(({ tokenIds, supervised }, at) => ({
    tokenIds: [...tokenIds],
    supervised: [...supervised],
    line: at + 1,
  }));
}

const plain = (examples: Awaited<ReturnType<Dataset["examples"]>>) =>
  examples.map(({ tokenIds, supervised, line }) => ({ tokenIds: [...tokenIds], supervised: [...supervised], line }));

const threads = () => Number(/Threads:\s+(\d+)/.exec(readFileSync("/proc/self/status", "utf8"))![1]);

afterEach(() => jest.restoreAllMocks());

test("two threads hold all datasets, each with its own rows, tokenizer and options; the last one of a thread ends it", async () => {
  await (await Dataset.fromRows(rowsOf(0), options)).dispose(); // libuv's own threads have started
  const before = threads();
  const workers = watchedThreads();
  const settings = (at: number) => (at % 3 === 1 ? others : options);
  const all = await Promise.all(Array.from({ length: 9 }, (_, at) => made(rowsOf(at), settings(at))));
  expect(workers).toHaveLength(2);
  expect(threads() - before).toBe(2);
  const alone = await Promise.all(all.map((data) => data.plan({ batchSize: 2, shuffle: true, seed: 3, epoch: 1 })));
  for (let round = 0; round < 3; round++) {
    const reads = all.map((data) => data.examples(Array.from({ length: data.length }, (_, at) => at)));
    for (const [at, examples] of (await Promise.all(reads)).entries())
      expect(plain(examples)).toEqual(expected(rowsOf(at), settings(at)));
  }
  expect(new Set(alone.map((plan) => plan.indices.length)).size).toBe(4);
  const [kept, ...closed] = all;
  await Promise.all(closed.map((data) => data.dispose()));
  expect(threads() - before).toBe(1);
  expect(plain(await kept!.examples([2]))).toEqual([expected(rowsOf(0), options)[2]]);
  await kept!.dispose();
  expect(threads()).toBe(before);
  const again = await made(rowsOf(4));
  expect(plain(await again.examples([0]))).toEqual([expected(rowsOf(4), options)[0]]);
});

test("a dataset that is disposed of ends its own calls, closes its file, and leaves the thread to the others", async () => {
  const file = path.join(folder, "closed.jsonl");
  writeFileSync(
    file,
    rowsOf(1)
      .map((row) => `${JSON.stringify(row)}\n`)
      .join(""),
  );
  const links = () =>
    readdirSync("/proc/self/fd").filter((fd) => {
      try {
        return readlinkSync(`/proc/self/fd/${fd}`) === file;
      } catch {
        return false;
      }
    }).length;
  const first = await Dataset.fromJsonl(file, options);
  const [, beside] = [await made(rowsOf(2)), await made(rowsOf(3))];
  expect(links()).toBe(1);
  const ended = first.examples([0]).catch((error) => error);
  const reading = beside!.examples([1]);
  await first.dispose();
  expect(await ended).toMatchObject({ code: "ERR_DISPOSED", message: "The dataset was disposed of" });
  expect(links()).toBe(0);
  expect(plain(await reading)).toEqual([expected(rowsOf(3), options)[1]]);
  await first.dispose();
  expect(plain(await beside!.examples([0]))).toEqual([expected(rowsOf(3), options)[0]]);
});

test("a thread that ends is told to each dataset that it held; the others go on, and later ones get a new thread", async () => {
  const workers = watchedThreads();
  const [first, beside, third] = [await made(rowsOf(1)), await made(rowsOf(2)), await made(rowsOf(3))];
  const ends = [first!, third!].map((data) => data.examples([0]).catch((error) => error));
  await workers[0]!.terminate();
  const gone = { code: "ERR_INTERNAL", message: "The data worker ended with code 1" };
  for (const end of ends) expect(await end).toMatchObject(gone);
  await expect(third!.examples([0])).rejects.toMatchObject(gone);
  await expect(first!.plan({ batchSize: 1, shuffle: false, seed: 0, epoch: 0 })).rejects.toMatchObject(gone);
  const [later, more] = [await made(rowsOf(5)), await made(rowsOf(6))];
  expect(workers).toHaveLength(3);
  for (const [data, seed] of [[beside!, 2], [later!, 5], [more!, 6]] as const) // biome-ignore format: one line
    expect(plain(await data.examples([0]))).toEqual([expected(rowsOf(seed), options)[0]]);
});

test("data that cannot be used, an abort and a callback that throws end the dataset that they are of", async () => {
  const sound = [await made(rowsOf(1)), await made(rowsOf(2))];
  const many = Array.from({ length: 3000 }, (_, at) => ({ text: `hello world ${at}` }));
  const controller = new AbortController();
  const failing = [
    Dataset.fromRows([...many, { text: 5 }], { ...options, strict: true }),
    Dataset.fromRows([{ text: 5 }], options),
    Dataset.fromRows(many, { ...options, signal: controller.signal, onProgress: () => controller.abort("enough") }),
    Dataset.fromRows(many, {
      ...options,
      onProgress: () => {
        throw new TypeError("mine");
      },
    }),
    Dataset.fromJsonl(path.join(folder, "none.jsonl"), options),
  ];
  const reads = sound.map((data) => data.examples([3]));
  const errors = await Promise.all(failing.map((one) => one.catch((error) => error)));
  expect(errors).toMatchObject([
    { code: "ERR_DATA", message: 'the rows: line 3001 cannot be used: "text" is not a string' },
    { code: "ERR_DATA", message: expect.stringContaining("none of 1 rows can be used") },
    { code: "ERR_ABORTED", cause: "enough" },
    { message: "mine" },
    { code: "ERR_FILE" },
  ]);
  for (const [at, read] of reads.entries()) expect(plain(await read)).toEqual([expected(rowsOf(at + 1), options)[3]]);
  for (const [at, data] of sound.entries())
    expect(plain(await data.examples([0]))).toEqual([expected(rowsOf(at + 1), options)[0]]);
});

test("while a large file is indexed, its thread answers the other datasets", async () => {
  const [beside] = [await made(rowsOf(1)), await made(rowsOf(2))];
  const file = path.join(folder, "large.jsonl");
  writeFileSync(file, `${JSON.stringify({ text: "hello world ".repeat(40) })}\n`.repeat(60_000));
  const controller = new AbortController();
  let begun = () => {};
  const beginning = new Promise<void>((resolve) => {
    begun = resolve;
  });
  let ended = false;
  const indexing = Dataset.fromJsonl(file, { ...options, signal: controller.signal, onProgress: () => begun() });
  const outcome = indexing.catch((error) => error).finally(() => (ended = true));
  await beginning;
  expect(plain(await beside!.examples([0]))).toEqual([expected(rowsOf(1), options)[0]]);
  expect(ended).toBe(false);
  controller.abort();
  expect(await outcome).toMatchObject({ code: "ERR_ABORTED" });
  expect(plain(await beside!.examples([1]))).toEqual([expected(rowsOf(1), options)[1]]);
});
