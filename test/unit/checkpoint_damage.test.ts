/** Damaged checkpoints: each is skipped with a notice, and refused if it is named. */
import { createHash } from "node:crypto";
import { cpSync, existsSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import fs from "node:fs/promises";
import { join } from "node:path";
import { RedAdapter } from "../../lib/adapter/red_adapter";
import { mostBytes } from "../../lib/files/safetensors";
import { model, notices, resume, stopped, uninterrupted } from "./checkpoint_support";
import { temporaryFolder } from "./failing_files";
import { hooks } from "./fake_native";
import { abortInJob, newTrainer, outcomeOf } from "./training_support";

jest.mock("../../lib/native", () => require("./fake_native"));

let root: string;
beforeEach(() => {
  root = temporaryFolder();
  hooks.onJob = undefined;
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const stateOf = (dir: string) => JSON.parse(readFileSync(join(dir, "trainer_state.json"), "utf8"));
const writeState = (dir: string, change: object) =>
  writeFileSync(join(dir, "trainer_state.json"), JSON.stringify({ ...stateOf(dir), ...change }));

test.each<[string, RegExp, (dir: string) => void]>([
  ["no state", /trainer_state.json cannot be read/, (dir) => rmSync(join(dir, "trainer_state.json"))],
  [
    "a truncated state",
    /trainer_state.json cannot be read/,
    (dir) => truncateSync(join(dir, "trainer_state.json"), 99),
  ],
  ["a state of later times", /format 2, not 1/, (dir) => writeState(dir, { format: 2 })],
  ["a state without its parts", /lacks a part/, (dir) => writeState(dir, { state: {} })],
  [
    "a step that is not a number",
    /lacks a part/,
    (dir) => writeState(dir, { state: { ...stateOf(dir).state, step: "7" } }),
  ],
  [
    "files elsewhere",
    /outside its folder/,
    (dir) => writeState(dir, { files: { "../../x": { bytes: 1, sha256: "" } } }),
  ],
  ...["x.bin", "../x", "best.safetensors", "adapter_config.json", "parameters.safetensors"].map(
    (name): [string, RegExp, (dir: string) => void] => [
      `a file that is too large named ${name}`,
      /a file that no such run writes: "(x\.bin|parameters\.safetensors)"|outside its folder|expected at most \d+ bytes for/,
      (dir) => {
        const path = join(dir, name.replace("/", "-"));
        writeFileSync(path, "");
        truncateSync(path, 2e8);
        writeState(dir, { files: { [name]: { bytes: 2e8, sha256: "0" }, ...stateOf(dir).files } });
        writeState(dir, { files: { ...stateOf(dir).files, [name]: { bytes: 2e8, sha256: "0" } } });
      },
    ],
  ),
  [
    "files without digests",
    /expected at most \d+ bytes for optimizer.safetensors .* found nothing/,
    (dir) => writeState(dir, { files: { ...stateOf(dir).files, "optimizer.safetensors": 7 } }),
  ],
  ["no moments", /optimizer.safetensors/, (dir) => rmSync(join(dir, "optimizer.safetensors"))],
  [
    "moments without a digest",
    /has no optimizer.safetensors/,
    (dir) => {
      const { files } = stateOf(dir);
      delete files["optimizer.safetensors"];
      writeState(dir, { files });
    },
  ],
  ["truncated tensors", /bytes, not/, (dir) => truncateSync(join(dir, "adapter_model.safetensors"), 400)],
  [
    "a flipped bit",
    /not what was written/,
    (dir) => {
      const path = join(dir, "optimizer.safetensors");
      const bytes = readFileSync(path);
      bytes[bytes.length - 3]! ^= 4;
      writeFileSync(path, bytes);
    },
  ],
  [
    "a file in its place",
    /trainer_state.json cannot be read/,
    (dir) => {
      rmSync(dir, { recursive: true });
      writeFileSync(dir, "");
    },
  ],
])("a checkpoint with %s is skipped with a notice, and refused if it is named", async (_, message, damage) => {
  await stopped(root);
  const dir = join(root, "checkpoint-7");
  damage(dir);
  if (existsSync(join(dir, "trainer_state.json")) || readdirSync(root).includes("checkpoint-7"))
    expect((await resume(root, { outputDir: join(root, "else") }, dir)).error).toMatchObject({
      code: "ERR_CHECKPOINT",
    });
  const { events, adapter } = await resume(root);
  expect(events[0]).toMatchObject({ resumedStep: 6 });
  expect(notices(events)).toEqual([expect.stringMatching(message)]);
  expect(adapter.vectors()).toEqual(await uninterrupted());
});

test("a file of a checkpoint may have mostBytes bytes, and no more", async () => {
  await stopped(root);
  const dir = join(root, "checkpoint-7");
  const path = join(dir, "optimizer.safetensors");
  const { parameterCount } = RedAdapter.create(model);
  const most = mostBytes(2, 2 * parameterCount);
  const bytes = readFileSync(path);
  const header = bytes.subarray(8, 8 + Number(bytes.readBigUInt64LE(0))).toString();
  for (const size of [most, most + 1]) {
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(size - 8 - 8 * parameterCount));
    const text = header.padEnd(size - 8 - 8 * parameterCount);
    const padded = Buffer.concat([length, Buffer.from(text), bytes.subarray(-8 * parameterCount)]);
    writeFileSync(path, padded);
    const sha256 = createHash("sha256").update(padded).digest("hex");
    writeState(dir, { files: { ...stateOf(dir).files, "optimizer.safetensors": { bytes: size, sha256 } } });
    const { error, summary } = await resume(root, { outputDir: join(root, `${size}`) }, dir);
    if (size === most) expect(summary!.steps).toBe(10);
    else expect(error!.message).toMatch(`expected at most ${most} bytes for optimizer.safetensors`);
  }
});

test("an abort ends the reading of a checkpoint, and does not count as damage", async () => {
  await stopped(root);
  const controller = new AbortController();
  const { open } = fs;
  const opening = jest.spyOn(fs, "open").mockImplementation((path, ...rest) => {
    if (String(path).endsWith("optimizer.safetensors")) controller.abort();
    return open(path, ...rest);
  });
  const { trainer } = newTrainer(model, { outputDir: root });
  const { error } = await outcomeOf(trainer, { resume: true, signal: controller.signal });
  opening.mockRestore();
  expect([error?.code, controller.signal.aborted]).toEqual(["ERR_ABORTED", true]);
});

test("texts of a checkpoint are escaped and truncated in messages", async () => {
  await stopped(root);
  const dir = join(root, "checkpoint-7");
  const long = `\u001b[31m\nall is well${"x".repeat(100_000)}`;
  const before = stateOf(dir);
  for (const change of [
    { format: long },
    { files: { ...before.files, [`a${"x".repeat(100_000)}`]: 1 } },
    { state: { ...before.state, step: long } },
    { identity: { ...before.identity, schedule: long } },
    { identity: { ...before.identity, [long]: long } },
    { cpuPath: long },
    { matmul: long },
  ]) {
    writeFileSync(join(dir, "trainer_state.json"), JSON.stringify({ ...before, ...change }));
    const { error, events } = await resume(root, { outputDir: join(root, "else") }, dir);
    for (const message of error ? [error.message] : notices(events)) {
      expect(message.length).toBeLessThan(1000);
      // biome-ignore lint/suspicious/noControlCharactersInRegex: they are looked for
      expect(message).not.toMatch(/[\u0000-\u001f]/);
    }
    rmSync(join(root, "else"), { recursive: true, force: true });
  }
});

test("if all are damaged, true reports why and auto starts a new run", async () => {
  await stopped(root);
  for (const step of [6, 7]) rmSync(join(root, `checkpoint-${step}`, "optimizer.safetensors"));
  const { error } = await resume(root);
  expect(error).toMatchObject({
    code: "ERR_CHECKPOINT",
    message: expect.stringMatching(/no usable one; .*checkpoint-7.*checkpoint-6/),
  });
  const { events, adapter } = await resume(root, { keepCheckpoints: 9 }, "auto");
  expect(events[0]).toMatchObject({ resumedStep: 0 });
  expect(adapter.vectors()).toEqual(await uninterrupted());
});

test("a damaged checkpoint of a later step does not cause good ones to be removed", async () => {
  await stopped(root, { keepCheckpoints: 1 });
  cpSync(join(root, "checkpoint-7"), join(root, "checkpoint-9"), { recursive: true });
  rmSync(join(root, "checkpoint-9", "optimizer.safetensors"));
  const { trainer } = newTrainer(model, { outputDir: root, checkpointEverySteps: 1, keepCheckpoints: 1 });
  const { events } = await outcomeOf(trainer, { resume: true, signal: abortInJob(1, "step") });
  expect(events.at(-1)).toMatchObject({ type: "checkpoint", step: 8 });
  expect(readdirSync(root).sort()).toEqual(["checkpoint-8", "checkpoint-9", "log.jsonl", "run.json"]);
});
