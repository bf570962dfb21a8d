import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { RubricateError } from "../../lib/errors";
import { openLoggers } from "../../lib/train/loggers";
import { crc32c, record, scalarEvent, TensorBoardLogger, versionEvent } from "../../lib/train/tensorboard";
import { temporaryFolder } from "./failing_files";
import { fakeModel, hooks } from "./fake_native";
import { abortInJob, newTrainer, outcomeOf, timeless } from "./training_support";

jest.mock("../../lib/native", () => require("./fake_native"));

const model = fakeModel();
let root: string;
beforeEach(() => {
  root = temporaryFolder();
  hooks.onJob = undefined;
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const lines = () => readFileSync(join(root, "log.jsonl"), "utf8").split("\n");
const logged = () =>
  lines()
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line));
const withoutTime = (events: { time?: string }[]) => events.map(({ time: _, ...event }) => event);

describe("log.jsonl", () => {
  test.each([
    ["a symbolic link", (path: string) => symlinkSync("victim", path)],
    ["a pipe", (path: string) => execFileSync("mkfifo", [path])],
    ["a folder", (path: string) => mkdirSync(path)],
  ])("is not written through %s", async (what, make) => {
    writeFileSync(join(root, "victim"), "theirs");
    make(join(root, "log.jsonl"));
    await expect(openLoggers(["jsonl"], root, undefined)).rejects.toMatchObject({
      code: "ERR_FILE",
      message: expect.stringMatching(
        `^Expected a regular file or nothing to write to at .*log.jsonl but it is ${what}`,
      ),
    });
    expect(readFileSync(join(root, "victim"), "utf8")).toBe("theirs");
  });

  test("has every event on a line, with its time", async () => {
    const { events } = await outcomeOf(newTrainer(model, { outputDir: root, eval: 0.3 }).trainer);
    expect(withoutTime(logged())).toEqual(events);
    for (const { time } of logged()) expect(Math.abs(Date.now() - Date.parse(time))).toBeLessThan(60_000);
  });

  test.each([
    ["as it was", () => {}],
    ["with its last line truncated", () => truncateSync(join(root, "log.jsonl"), lines().join("\n").length - 20)],
    ["with half a line more", () => appendFileSync(join(root, "log.jsonl"), '{"time":"2026-')],
  ])("found %s, a resumed run continues it without gap or repetition", async (_, damage) => {
    const options = { eval: 0.3, outputDir: root, checkpointEverySteps: 2 };
    const expected = await outcomeOf(newTrainer(model, { eval: 0.3 }).trainer);
    const aborting = newTrainer(model, options);
    await outcomeOf(aborting.trainer, { signal: abortInJob(4, "step") });
    hooks.onJob = undefined;
    rmSync(join(root, "checkpoint-4"), { recursive: true }); // so that steps were made after the checkpoint
    damage();
    await outcomeOf(newTrainer(model, options).trainer, { resume: true });
    expect(timeless(withoutTime(logged()) as never)).toEqual(timeless(expected.events));
    expect(logged().filter(({ type }) => type === "start")).toHaveLength(2);
  });

  test("starts empty in a new run", async () => {
    await outcomeOf(newTrainer(model, { outputDir: root }).trainer);
    await outcomeOf(newTrainer(model, { outputDir: root, overwrite: true }).trainer);
    expect(logged().filter(({ type }) => type === "start")).toHaveLength(1);
  });

  test("that cannot be written ends the run at its start", async () => {
    mkdirSync(join(root, "log.jsonl"));
    expect((await outcomeOf(newTrainer(model, { outputDir: root }).trainer)).error).toMatchObject({
      code: "ERR_FILE",
      message: expect.stringContaining("log.jsonl"),
    });
    writeFileSync(join(root, "file"), "");
    const { trainer } = newTrainer(model, { outputDir: join(root, "file", "out"), loggers: [] });
    expect((await outcomeOf(trainer)).error).toMatchObject({ code: "ERR_FILE" });
  });
});

test("if one log cannot be opened, the others are closed", async () => {
  const open = () => readdirSync("/proc/self/fd").filter((fd) => linkOf(`/proc/self/fd/${fd}`).startsWith(root)).length;
  const failing = jest.spyOn(TensorBoardLogger, "open").mockRejectedValue(new RubricateError("ERR_FILE", "full"));
  const options = { outputDir: root, loggers: ["jsonl", "tensorboard"] as const };
  const { error } = await outcomeOf(newTrainer(model, options).trainer);
  failing.mockRestore();
  expect([error?.message, open()]).toEqual(["full", 0]);
});

test("if one log cannot be closed, the others are", async () => {
  const { close } = TensorBoardLogger.prototype;
  const failing = jest.spyOn(TensorBoardLogger.prototype, "close").mockImplementation(async function (
    this: TensorBoardLogger,
  ) {
    await close.call(this);
    throw new RubricateError("ERR_FILE", "full");
  });
  const { error } = await outcomeOf(newTrainer(model, { outputDir: root, loggers: ["tensorboard", "jsonl"] }).trainer);
  failing.mockRestore();
  expect(error).toMatchObject({
    code: "ERR_FILE",
    message: expect.stringMatching(/^full; the last finished step, 10, is in /),
  });
  const { trainer } = newTrainer(model, { outputDir: root });
  expect((await outcomeOf(trainer, { resume: true })).error).toBeUndefined();
});

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return ""; // of the listing itself
  }
}

describe("TensorBoard's files", () => {
  test("crc32c gives the values of RFC 3720, B.4", () => {
    expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa);
    expect(crc32c(new Uint8Array(32).fill(255))).toBe(0x62a8ab43);
    expect(crc32c(Uint8Array.from({ length: 32 }, (_, at) => at))).toBe(0x46dd794e);
    expect(crc32c(Buffer.from("123456789"))).toBe(0xe3069283);
  });

  test("records are tensorboard's, byte for byte", () => {
    // tensorboard.compat.proto and tensorboard.summary.writer.record_writer wrote these, with wall_time 1700000000.5.
    expect(record(versionEvent(1700000000.5)).toString("hex")).toBe(
      "1800000000000000a37f4b220900002040fc54d9411a0d627261696e2e4576656e743a322b353110",
    );
    expect(record(scalarEvent(1700000000.5, 300, "train/loss", 0.25)).toString("hex")).toBe(
      "2100000000000000017becf60900002040fc54d94110ac022a130a110a0a747261696e2f6c6f7373150000803e0da12f0e",
    );
  });

  test("hold the scalars of steps and evaluations", async () => {
    const options = { outputDir: root, eval: 0.3, loggers: ["tensorboard" as const], checkpointEveryMinutes: 0 };
    const { events } = await outcomeOf(newTrainer(model, options).trainer);
    const [name, ...others] = readdirSync(root).filter((one) => !["best", "run.json"].includes(one));
    expect(name).toMatch(/^events\.out\.tfevents\.\d+\./);
    expect(others).toEqual([]);
    const bytes = readFileSync(join(root, name!));
    let records = 0;
    for (let at = 0; at < bytes.length; records++) {
      const length = Number(bytes.readBigUInt64LE(at));
      const data = bytes.subarray(at + 12, at + 12 + length);
      expect(bytes.subarray(at, at + 16 + length)).toEqual(record(data));
      at += 16 + length;
    }
    const count = (kind: string) => events.filter(({ type }) => type === kind).length;
    expect(records).toBe(1 + 6 * count("step") + 3 * count("eval"));
  });
});
