/** One training run at a time for an adapter, a trained model, and a folder. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join, relative } from "node:path";
import { Worker } from "node:worker_threads";
import { RedAdapter } from "../../lib/adapter/red_adapter";
import { FolderLock } from "../../lib/train/folder_lock";
import type { TrainerOptions } from "../../lib/train/options";
import { Trainer } from "../../lib/train/trainer";
import { temporaryFolder } from "./failing_files";
import { fakeModel, hooks } from "./fake_native";
import { newTrainer, outcomeOf, someExamples } from "./training_support";

jest.mock("../../lib/native", () => require("./fake_native"));

let root: string;
beforeEach(() => {
  root = temporaryFolder();
  hooks.onJob = undefined;
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const busy = (says: RegExp) => ({ code: "ERR_BUSY", message: expect.stringMatching(says) });
const locks = (folder = root) => readdirSync(folder).filter((name) => name.startsWith(".rubricate-lock"));

/** A trainer after its first steps. */
async function running(model: never, options: Partial<TrainerOptions> = {}) {
  const { trainer, adapter } = newTrainer(model, options);
  const run = trainer.run();
  for (let at = 0; at < 3; at++) await run.next();
  return { run, adapter, end: () => run.return(undefined as never) };
}

describe("an adapter", () => {
  const model = fakeModel();
  const ends: [string, () => Promise<RedAdapter>][] = [
    [
      "is left",
      async () => {
        const { adapter, end } = await running(model);
        expect((await outcomeOf(newTrainer(model, { adapter }).trainer)).error).toMatchObject(busy(/^The adapter/));
        await end();
        return adapter;
      },
    ],
    [
      "is finished",
      async () => {
        const { trainer, adapter } = newTrainer(model);
        await outcomeOf(trainer);
        return adapter;
      },
    ],
    [
      "fails",
      async () => {
        const { trainer, adapter } = newTrainer(model, { train: [] });
        expect((await outcomeOf(trainer)).error).toMatchObject({ code: "ERR_DATA" });
        return adapter;
      },
    ],
    [
      "is aborted",
      async () => {
        const { trainer, adapter } = newTrainer(model);
        const controller = new AbortController();
        await expect(async () => {
          for await (const event of trainer.run({ signal: controller.signal }))
            if (event.type === "step") controller.abort();
        }).rejects.toMatchObject({ code: "ERR_ABORTED" });
        return adapter;
      },
    ],
  ];
  test.each(ends)("is free for another run once the first %s", async (_, end) => {
    const adapter = await end();
    expect((await outcomeOf(newTrainer(model, { adapter }).trainer)).error).toBeUndefined();
  });

  test("is not overwritten between two steps", async () => {
    const { adapter, end } = await running(model);
    const vectors = adapter.vectors();
    expect(() => adapter.setVectors(vectors)).toThrow(expect.objectContaining({ code: "ERR_BUSY" }));
    await end();
    adapter.setVectors(vectors);
  });

  test("of two runs that start together, one trains", async () => {
    const adapter = RedAdapter.create(model);
    const options = { model, adapter, train: someExamples(4), maxSteps: 2 };
    const outcomes = await Promise.all([1, 2].map(() => outcomeOf(new Trainer(options))));
    expect(outcomes.map(({ error }) => error?.code)).toEqual([undefined, "ERR_BUSY"]);
  });
});

describe("a model", () => {
  /** A model whose weights are an adapter's numbers. */
  const trainable = () => {
    const { FakeAdapter } = jest.requireActual("./fake_native");
    const weights = new FakeAdapter();
    const job = <T>(value: T) => ({ promise: Promise.resolve(value), cancel: () => {} });
    weights.readValue = (at: number, start: number, count: number) =>
      job(weights.current.slice(at * 4 + start, at * 4 + start + count));
    const model = fakeModel({ forgetFingerprint: () => {} }) as never as { native: Record<string, unknown> };
    model.native.makeTrainable = () => job(weights);
    return model as never;
  };
  const full: Partial<TrainerOptions> = { method: "full", adapter: undefined };

  test.each<[string, object, object, RegExp]>([
    ["two of all weights", full, full, /^The model .* trains all of its weights/],
    ["all weights with an adapter", {}, full, /^The model .* trains an adapter on it/],
    ["an adapter with all weights", full, {}, /^The model .* trains all of its weights/],
  ])("takes one run of %s", async (_, first, second, says) => {
    const model = trainable();
    const { end } = await running(model, first);
    expect((await outcomeOf(newTrainer(model, second).trainer)).error).toMatchObject(busy(says));
    await end();
    expect((await outcomeOf(newTrainer(model, second).trainer)).error).toBeUndefined();
  });

  test("can be used for many adapters at a time", async () => {
    const model = trainable();
    const { end } = await running(model);
    expect((await outcomeOf(newTrainer(model).trainer)).error).toBeUndefined();
    await end();
  });
});

describe("a folder", () => {
  const model = fakeModel();

  test("allows one run for all of its paths, and has no lock file afterwards", async () => {
    const folder = join(root, "out");
    const { end } = await running(model, { outputDir: folder });
    symlinkSync(folder, join(root, "link"));
    for (const outputDir of [folder, `${folder}/../out/`, join(root, "link"), relative(process.cwd(), folder)])
      expect((await outcomeOf(newTrainer(model, { outputDir }).trainer)).error).toMatchObject(
        busy(new RegExp(`^The folder .* \\(process ${process.pid} on`)),
      );
    expect(locks(folder)).toHaveLength(1);
    await end();
    const { trainer } = newTrainer(model, { outputDir: join(root, "link") });
    expect((await outcomeOf(trainer, { resume: true })).error).toBeUndefined();
    expect(readdirSync(folder).sort()).toEqual(["checkpoint-10", "checkpoint-2", "log.jsonl", "run.json"]);
  });

  test("that was created for a run that cannot begin is removed", async () => {
    const { trainer } = newTrainer(model, { outputDir: join(root, "a", "b"), train: [] });
    expect((await outcomeOf(trainer)).error).toMatchObject({ code: "ERR_DATA" });
    expect(existsSync(join(root, "a"))).toBe(false);
  });

  const script = `
    require(${JSON.stringify(join(__dirname, "../runtime/typescript.cjs"))});
    const { FolderLock } = require(${JSON.stringify(join(__dirname, "../../lib/train/folder_lock.ts"))});
    FolderLock.take(process.argv.at(-1)).then(() => console.log("held"), (error) => console.log(error.code));
    setInterval(() => {}, 1000);`;
  /** Starts a process that locks the folder. @returns its result */
  async function otherProcess(): Promise<{ child: ChildProcess; says: string }> {
    const child = spawn(process.execPath, ["-e", script, root], { stdio: ["ignore", "pipe", "inherit"] });
    const [data] = await once(child.stdout!, "data");
    return { child, says: String(data).trim() };
  }
  const kill = async (child: ChildProcess) => {
    child.kill("SIGKILL");
    await once(child, "exit");
  };

  test("of another process is refused, and taken over when that was killed", async () => {
    const both = await Promise.all([otherProcess(), otherProcess()]);
    expect(both.map(({ says }) => says).sort()).toEqual(["ERR_BUSY", "held"]);
    const [holder, other] = both[0].says === "held" ? both : [both[1], both[0]];
    await expect(FolderLock.take(root)).rejects.toMatchObject(busy(new RegExp(`process ${holder!.child.pid} on`)));
    await Promise.all([kill(holder!.child), kill(other!.child)]);
    const { error } = await outcomeOf(newTrainer(model, { outputDir: root, loggers: [] }).trainer);
    expect(error).toBeUndefined();
    expect(locks()).toEqual([]);
  });

  test("of another thread is refused, and taken over when that was terminated", async () => {
    const worker = new Worker(script, { eval: true, argv: [root], execArgv: [], stdout: true });
    const [data] = await once(worker.stdout, "data");
    expect(String(data).trim()).toBe("held");
    await expect(FolderLock.take(root)).rejects.toMatchObject({ code: "ERR_BUSY" });
    await worker.terminate();
    await taken();
  });

  /** A lock of this process, with changes. */
  async function lockWith(change: object): Promise<string> {
    const lock = await FolderLock.take(root);
    const path = join(root, locks()[0]!);
    const text = JSON.stringify({ ...JSON.parse(readFileSync(path, "utf8")), ...change });
    await lock.release();
    writeFileSync(path, text);
    return path;
  }
  const age = (path: string, seconds: number) => utimesSync(path, Date.now() / 1000, Date.now() / 1000 - seconds);
  const taken = async () => {
    const lock = await FolderLock.take(root);
    expect(locks()).toHaveLength(1);
    await lock.release();
    expect(locks()).toEqual([]);
  };

  test("whose holder's number belongs to another process by now is taken over", async () => {
    for (const change of [{ started: "1" }, { pid: 4194303, thread: 4194303 }, { thread: 4194303 }]) {
      await lockWith(change);
      await taken();
    }
  });

  test("of a machine that cannot be asked is refused until it is silent for two minutes", async () => {
    const path = await lockWith({ place: "elsewhere", pid: 1 });
    age(path, 100);
    await expect(FolderLock.take(root)).rejects.toMatchObject(busy(/wait two minutes or remove .*\.rubricate-lock/));
    age(path, 130);
    await taken();
  });

  test("whose lock is being written is refused, and taken over if that was never finished", async () => {
    const path = await lockWith({});
    for (const text of ["", "{}", '{"pid":1', '{"pid":1,"place":"","host":"","time":""}'])
      for (const [seconds, free] of [
        [0, false],
        [11, true],
      ] as const) {
        writeFileSync(path, text);
        age(path, seconds);
        if (free) await taken();
        else await expect(FolderLock.take(root)).rejects.toMatchObject({ code: "ERR_BUSY" });
      }
  });

  test("whose lock names numbers that no process can have is taken over", async () => {
    for (const number of [2 ** 31, 2 ** 52]) {
      await lockWith({ pid: number, thread: number, started: null });
      await taken();
    }
  });

  test("whose lock has a time in the future is refused, and the message names the file to remove", async () => {
    const path = await lockWith({ place: "elsewhere" });
    for (const text of [readFileSync(path, "utf8"), ""]) {
      writeFileSync(path, text);
      age(path, -3e9);
      await expect(FolderLock.take(root)).rejects.toMatchObject(busy(/ended, .*remove .*\.rubricate-lock$/));
    }
    rmSync(path);
    await taken();
  });

  test("whose lock is not a regular file is refused, and the message says to remove it", async () => {
    const victim = join(root, "victim");
    writeFileSync(victim, "theirs");
    age(victim, 1000);
    const path = await lockWith({ started: "1" });
    for (const place of [path, `${path}-takeover`])
      for (const make of [
        mkdirSync,
        (one: string) => execFileSync("mkfifo", [one]),
        (one: string) => symlinkSync(victim, one),
      ]) {
        const before = existsSync(place) ? readFileSync(place) : undefined;
        rmSync(place, { force: true });
        make(place);
        await expect(FolderLock.take(root)).rejects.toMatchObject({
          code: "ERR_FILE",
          message: expect.stringContaining(`not a regular file; if no training run uses the folder, remove ${place}`),
        });
        rmSync(place, { recursive: true });
        if (before) writeFileSync(place, before);
      }
    writeFileSync(path, Buffer.of(0xff));
    await expect(FolderLock.take(root)).rejects.toMatchObject({ message: expect.stringContaining(`remove ${path}`) });
    expect(readFileSync(victim, "utf8")).toBe("theirs");
  });

  test("whose lock has control characters and long texts does not show them", async () => {
    await lockWith({ place: "elsewhere", host: "h\n\u001b[31mall is well", time: "t".repeat(500_000) });
    const error = (await FolderLock.take(root).catch((one) => one)) as Error;
    expect(error.message).toMatch(/ on h\\n\\u001b\[31mall is well, since t{77}\.\.\.\)/);
  });

  test("whose takeover was interrupted is taken over again", async () => {
    const path = await lockWith({ started: "1" });
    writeFileSync(`${path}-takeover`, readFileSync(path));
    await taken();
  });

  test("is not written by a run that lost its lock, and a removed lock is made again", async () => {
    const { run, end } = await running(model, { outputDir: root });
    const path = join(root, locks()[0]!);
    const text = readFileSync(path, "utf8");
    rmSync(path);
    const checkpointed = running(model, { outputDir: join(root, "other"), checkpointEverySteps: 1 });
    const other = await checkpointed;
    const theirs = join(root, "other", locks(join(root, "other"))[0]!);
    rmSync(theirs);
    await other.run.next();
    await other.run.next();
    expect(readFileSync(theirs, "utf8")).toBe(text);
    await other.end();
    writeFileSync(path, text.replace('"pid"', '"place":"elsewhere","pid"'));
    const before = readdirSync(root);
    const failure = expect.stringMatching(/^The folder .* by another training run by now: this one lost its lock, /);
    await expect(end()).rejects.toMatchObject({ code: "ERR_BUSY", message: failure });
    expect((await run.next()).done).toBe(true);
    expect(readdirSync(root)).toEqual(before);
  });

  test("has a lock whose age is by the clock of the folder, not of this machine", async () => {
    const path = await lockWith({ place: "elsewhere" });
    const now = jest.spyOn(Date, "now").mockReturnValue(Date.now() + 1e7);
    await expect(FolderLock.take(root)).rejects.toMatchObject({ code: "ERR_BUSY" });
    now.mockReturnValue(Date.now() - 2e7);
    utimesSync(path, new Date(0), new Date(0));
    await taken();
    now.mockRestore();
    expect(readdirSync(root)).toEqual([]);
  });

  test("releases only its own lock", async () => {
    const lock = await FolderLock.take(root);
    const path = join(root, locks()[0]!);
    writeFileSync(path, "another's");
    await lock.release();
    expect(readFileSync(path, "utf8")).toBe("another's");
  });

  test("that cannot be created is ERR_FILE", async () => {
    writeFileSync(join(root, "file"), "");
    mkdirSync(join(root, "dir"));
    await expect(FolderLock.take(join(root, "file"))).rejects.toMatchObject({ code: "ERR_FILE" });
    await expect(FolderLock.take(join(root, "file", "out"))).rejects.toMatchObject({ code: "ERR_FILE" });
  });
});
