/** A run stays in its outputDir: links in it are not followed, and the working directory may change. */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import type { TrainerOptions } from "../../lib/train/options";
import { temporaryFolder } from "./failing_files";
import { fakeModel, hooks } from "./fake_native";
import { newTrainer, outcomeOf } from "./training_support";

jest.mock("../../lib/native", () => require("./fake_native"));

const model = fakeModel();
const options: Partial<TrainerOptions> = { eval: 0.3, checkpointEverySteps: 3, keepCheckpoints: 9 };
const here = process.cwd();
let root: string;
let out: string;
let victim: string;
beforeEach(() => {
  root = temporaryFolder();
  [out, victim] = [join(root, "out"), join(root, "victim")];
  mkdirSync(out);
  mkdirSync(victim);
  writeFileSync(join(victim, "creds.json"), '{"token":"secret"}\n');
  hooks.onJob = undefined;
});
afterEach(() => {
  process.chdir(here);
  rmSync(root, { recursive: true, force: true });
});

const refused = (name: string) => ({
  code: "ERR_FILE",
  message: expect.stringMatching(`^Expected no symbolic link at ${join(out, name)}: .*remove the link`),
});

const places: [string, string][] = [
  ["best", "victim"],
  ["best", "none"],
  ["checkpoint-3", "victim"],
  ["log.jsonl", "victim/creds.json"],
  ["events.out.tfevents.1.host.2.3", "victim/creds.json"],
];

test.each(places)("a new run refuses %s as a link to %s, before anything is written", async (name, target) => {
  symlinkSync(join(root, target), join(out, name));
  const { error } = await outcomeOf(newTrainer(model, { ...options, outputDir: out }).trainer);
  expect(error).toMatchObject(refused(name));
  expect(readdirSync(out)).toEqual([name]);
  expect(readdirSync(victim)).toEqual(["creds.json"]);
});

test.each(places)("a resumed run refuses %s as a link to %s, before anything is read", async (name, target) => {
  await outcomeOf(newTrainer(model, { ...options, outputDir: out }).trainer);
  rmSync(join(out, name), { recursive: true, force: true });
  symlinkSync(join(root, target), join(out, name));
  const before = readdirSync(out);
  const { error } = await outcomeOf(newTrainer(model, { ...options, outputDir: out }).trainer, { resume: true });
  expect(error).toMatchObject(refused(name));
  expect(readdirSync(out)).toEqual(before);
  expect(readdirSync(victim)).toEqual(["creds.json"]);
  expect(readFileSync(join(victim, "creds.json"), "utf8")).toBe('{"token":"secret"}\n');
});

test("a link that replaces best during the run is not followed", async () => {
  const { trainer } = newTrainer(model, { ...options, outputDir: out });
  const seen = async () => {
    for await (const event of trainer.run()) if (event.type === "start") symlinkSync(victim, join(out, "best"));
  };
  await expect(seen()).rejects.toMatchObject(refused("best"));
  expect(readdirSync(victim)).toEqual(["creds.json"]);
});

test("the outputDir itself may be a link, and other links in it are ignored", async () => {
  symlinkSync(out, join(root, "link"));
  symlinkSync(victim, join(out, "data"));
  for (const resume of [false, true]) {
    const { error } = await outcomeOf(newTrainer(model, { ...options, outputDir: join(root, "link") }).trainer, {
      resume,
    });
    expect(error).toBeUndefined();
  }
  expect(readdirSync(out)).toEqual(expect.arrayContaining(["best", "checkpoint-3", "log.jsonl", "run.json"]));
});

test("a run whose working directory changes stays in its folder", async () => {
  process.chdir(root);
  const { trainer } = newTrainer(model, { ...options, outputDir: "out" });
  process.chdir(victim); // before the run starts
  for await (const event of trainer.run()) if (event.type === "step") process.chdir(event.step % 2 ? root : victim);
  expect(readdirSync(victim)).toEqual(["creds.json"]);
  expect(readdirSync(out)).toEqual(expect.arrayContaining(["best", "checkpoint-3", "log.jsonl", "run.json"]));
});

test("so does the checkpoint that a run is resumed from", async () => {
  await outcomeOf(newTrainer(model, { ...options, outputDir: out }).trainer);
  renameSync(join(out, "checkpoint-3"), join(root, "mine"));
  process.chdir(root);
  const { trainer } = newTrainer(model, { ...options, outputDir: "else", resume: "mine" });
  process.chdir(victim);
  const { events, error } = await outcomeOf(trainer);
  expect([error, events[0]]).toEqual([undefined, expect.objectContaining({ resumedStep: 3 })]);
  expect(existsSync(join(root, "else", "best"))).toBe(true);
});
