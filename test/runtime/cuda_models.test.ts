/**
 * Models on a CUDA device and on the CPU, and files shared between them. RUBRICATE_CUDA_LIBRARY names the plug-in, usually
 * the emulated one that `npm run test:cuda` builds. Failures that only an emulated device can simulate are tested in
 * separate processes: cuda_models_child.cjs.
 */
import { spawnSync } from "node:child_process";
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { RedAdapter } from "../../lib/adapter/red_adapter";
import type { Example } from "../../lib/data/types";
import { runJob } from "../../lib/job";
import { type DeviceChoice, setDeviceMemoryLimit } from "../../lib/model/device";
import { LanguageModel } from "../../lib/model/model";
import type { TrainerOptions } from "../../lib/train/options";
import { Trainer } from "../../lib/train/trainer";
import { folderOf, relativeError } from "../parity/fixtures";
import { nodeArguments } from "../unit/cli_support";
import { temporaryFolder } from "../unit/failing_files";

const plugin = process.env.RUBRICATE_CUDA_LIBRARY;
const describeOnCuda = plugin ? describe : describe.skip;

const prompt = [1, 17, 44, 9, 80, 3, 61];
const load = (device: DeviceChoice, fixture = "gqa") => LanguageModel.fromPretrained(folderOf(fixture), { device });

async function idsOf(model: LanguageModel, adapter: RedAdapter | null = null): Promise<number[]> {
  const ids: number[] = [];
  for await (const { tokenId } of model.generate({ tokenIds: prompt, adapter, maxNewTokens: 12 })) ids.push(tokenId);
  return ids;
}

const examples: Example[] = Array.from({ length: 24 }, (_, at) => {
  const length = 3 + ((at * 7) % 17);
  return {
    tokenIds: Int32Array.from({ length }, (_, i) => (at * 31 + i * i * 17) % 128),
    supervised: Uint8Array.from({ length }, (_, i) => (i > length / 3 ? 1 : 0)),
    line: at + 1,
  };
});

async function trained(model: LanguageModel, changes: Partial<TrainerOptions>, until = Number.POSITIVE_INFINITY) {
  const outputDir = changes.outputDir;
  const settings = { batchSize: 4, learningRate: 0.01, epochs: 2, checkpointEverySteps: outputDir ? 1 : undefined };
  const trainer = new Trainer({ model, train: examples, ...settings, ...changes });
  for await (const event of trainer.run({ resume: outputDir ? "auto" : undefined }))
    if (event.type === "step" && event.step === until) return;
}

async function weightsOf(model: LanguageModel): Promise<Float32Array[]> {
  const parameters = await runJob(() => model.native.makeTrainable());
  return parameters.names.map((_, index) => parameters.value(index));
}

describeOnCuda(`with the plug-in ${plugin ?? "that RUBRICATE_CUDA_LIBRARY names"}`, () => {
  let cpu: LanguageModel;
  let cuda: LanguageModel;
  let root: string;
  beforeAll(async () => {
    cpu = await load("cpu");
    cuda = await load("cuda");
  });
  afterAll(() => {
    cpu?.dispose();
    cuda?.dispose();
  });
  beforeEach(() => {
    root = temporaryFolder();
  });
  afterEach(() => rmSync(root, { recursive: true, force: true }));

  test("reports its device and its memory there", async () => {
    expect(cpu.device).toEqual({ kind: "cpu" });
    expect(cpu.memory().device).toBeUndefined();
    const matmul = expect.stringMatching(/^own kernels$|^cuBLASLt \d+\.\d+\.\d+, /);
    expect(cuda.device).toEqual({ kind: "cuda", index: 0, name: expect.stringMatching(/./), matmul });
    await cuda.logits(prompt);
    const { mapped, owned, workspacePeak, device } = cuda.memory();
    expect(mapped).toBe(0);
    expect(owned).toBeGreaterThan(4 * 0.9 * cuda.parameterCount);
    expect(workspacePeak).toBeGreaterThan(0);
    expect(device!.used).toBeGreaterThanOrEqual(owned);
    expect(device!.peak).toBeGreaterThanOrEqual(device!.used);
    expect(device!.free).toBeLessThanOrEqual(device!.total);
    using first = await load("auto");
    expect(first.device).toEqual(cuda.device);
    expect(await first.fingerprint()).toEqual(await cpu.fingerprint());
  });

  test("a missing device, and a value that is not a device", async () => {
    await expect(load("cuda:7")).rejects.toMatchObject({
      code: "ERR_DEVICE",
      message: expect.stringMatching(/^Expected a CUDA device for device "cuda:7" but there is only cuda:0 \(.+\)$/),
    });
    for (const device of ["gpu", "cuda:", "cuda:-1", "cuda:1.5", 1])
      await expect(load(device as DeviceChoice)).rejects.toMatchObject({ code: "ERR_ARGUMENT" });
  });

  test("generates the CPU's text in float32, greedy and sampled with a seed", async () => {
    expect(await idsOf(cuda)).toEqual(await idsOf(cpu));
    const sampled = { tokenIds: prompt, temperature: 0.9, topK: 30, seed: 5, maxNewTokens: 12 };
    const texts: number[][] = [];
    for (const model of [cpu, cuda]) {
      const ids: number[] = [];
      for await (const { tokenId } of model.generate(sampled)) ids.push(tokenId);
      texts.push(ids);
    }
    expect(texts[1]).toEqual(texts[0]);
  });

  test("disposing of a model frees its memory", async () => {
    const { used } = cuda.memory().device!;
    const model = await load("cuda");
    expect(cuda.memory().device!.used).toBeGreaterThan(used);
    model.dispose();
    expect(cuda.memory().device!.used).toBe(used);
  });

  test("loading reports its progress, and stops when it is aborted", async () => {
    const { used } = cuda.memory().device!;
    const seen: number[] = [];
    const progress = async (signal?: AbortSignal, onProgress?: () => void) => {
      const model = await LanguageModel.fromPretrained(folderOf("gqa"), {
        device: "cuda",
        signal,
        onProgress({ loadedBytes, totalBytes }) {
          seen.push(loadedBytes / totalBytes);
          onProgress?.();
        },
      });
      model.dispose();
    };
    await progress();
    expect(seen.at(-1)).toBe(1);
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
    const controller = new AbortController();
    setImmediate(() => controller.abort());
    await expect(progress(controller.signal)).rejects.toMatchObject({ code: "ERR_ABORTED" });
    expect(cuda.memory().device!.used).toBe(used);
  });

  test("an adapter that was trained on one is the same on the other, by its vectors and from its folder", async () => {
    using adapter = RedAdapter.create(cuda, { sites: ["ffn", "attention"] });
    await trained(cuda, { adapter });
    expect(adapter.stats().some(({ bias }) => bias!.max > 1e-3)).toBe(true);
    const there = await cuda.logits(prompt, { adapter });
    expect(relativeError(there, await cuda.logits(prompt))).toBeGreaterThan(1e-3);
    await expect(cpu.logits(prompt, { adapter })).rejects.toMatchObject({ code: "ERR_FOREIGN" });
    using copy = RedAdapter.create(cpu, { sites: ["ffn", "attention"] });
    copy.setVectors(adapter.vectors());
    expect(relativeError(await cpu.logits(prompt, { adapter: copy }), there)).toBeLessThan(5e-6);
    await adapter.savePretrained(join(root, "adapter"));
    using loaded = await RedAdapter.fromPretrained(join(root, "adapter"), cpu);
    expect(loaded.vectors()).toEqual(adapter.vectors());
    expect(await idsOf(cpu, loaded)).toEqual(await idsOf(cuda, adapter));
    using same = RedAdapter.create(cpu, { sites: ["ffn", "attention"] });
    await trained(cpu, { adapter: same });
    for (const [name, values] of same.vectors())
      expect([name, relativeError(adapter.vectors().get(name)!, values) < 1e-4]).toEqual([name, true]);
  });

  test.each([
    ["cuda", "cpu"],
    ["cpu", "cuda"],
  ] as const)("a run stopped on %s resumes on %s", async (from, to) => {
    const models = { cpu, cuda };
    using straight = RedAdapter.create(models[to]);
    await trained(models[to], { adapter: straight, outputDir: join(root, "straight") });
    using stopped = RedAdapter.create(models[from]);
    await trained(models[from], { adapter: stopped, outputDir: join(root, "run") }, 5);
    using resumed = RedAdapter.create(models[to]);
    const before = resumed.vectors();
    await trained(models[to], { adapter: resumed, outputDir: join(root, "run") });
    expect(resumed.vectors()).not.toEqual(before);
    for (const [name, values] of straight.vectors())
      expect([name, relativeError(resumed.vectors().get(name)!, values) < 1e-4]).toEqual([name, true]);
  });

  test.each(["gqa", "gqa_bf16"])(
    "all weights of %s: trained there, stopped, resumed here, saved, loaded",
    async (name) => {
      const full = { method: "full", adapter: undefined, learningRate: 1e-3, outputDir: join(root, "run") } as const;
      using first = await load("cuda", name);
      await trained(first, full, 5);
      using second = await load("cpu", name);
      await trained(second, full);
      using third = await load("cuda", name);
      await trained(third, { ...full, outputDir: join(root, "straight") });
      const [here, there] = [await weightsOf(second), await weightsOf(third)];
      for (const [at, values] of there.entries()) expect(relativeError(here[at]!, values)).toBeLessThan(1e-3);
      await third.savePretrained(join(root, "saved"));
      using saved = await LanguageModel.fromPretrained(join(root, "saved"), { device: "cpu" });
      using again = await LanguageModel.fromPretrained(join(root, "saved"), { device: "cuda" });
      await again.savePretrained(join(root, "again"));
      const bytes = (folder: string) => readFileSync(join(root, folder, "model.safetensors"));
      expect(bytes("again").equals(bytes("saved"))).toBe(true);
      const tolerance = name === "gqa" ? 5e-6 : 2e-2;
      expect(relativeError(await saved.logits(prompt), await third.logits(prompt))).toBeLessThan(tolerance);
    },
  );

  /** The result of a separate process with these settings of the emulation. */
  function inProcess<T>(scenario: string, settings: Record<string, string> = {}): T {
    const child = spawnSync(
      process.execPath,
      [...nodeArguments.slice(0, 2), join(__dirname, "cuda_models_child.cjs"), scenario],
      { encoding: "utf8", env: { ...process.env, ...settings }, timeout: 50_000 },
    );
    expect({ status: child.status, stderr: child.stderr }).toEqual({ status: 0, stderr: "" });
    return JSON.parse(child.stdout);
  }
  interface Failed {
    readonly code: string;
    readonly message: string;
  }

  test("a job without enough memory rejects, and the model still works", () => {
    const found = inProcess<{
      long: Failed;
      same: boolean;
      second: Failed;
      fallback: { kind: string; reason: string };
    }>("memory");
    const says = /^Could not allocate \d+ bytes on cuda:0 \(.+\): \d+ bytes in use, \d+ of \d+ free/;
    expect(found.long).toEqual({ code: "ERR_OUT_OF_MEMORY", message: expect.stringMatching(says) });
    expect(found.same).toBe(true);
    expect(found.second).toEqual({ code: "ERR_OUT_OF_MEMORY", message: expect.stringMatching(says) });
    expect(found.fallback).toEqual({ kind: "cpu", reason: expect.stringMatching(says) });
  });

  test("a limit of the device's memory: jobs beyond it reject with that reason, a generation keeps within it, others still work", () => {
    const found = inProcess<{
      limit: number;
      loading: Failed;
      failures: Failed[];
      figures: { used: number; cached: number; peak: number; limit: number };
      usable: boolean;
      text: boolean;
      lifted: number;
    }>("limit");
    const says = (limit: number) => ({
      code: "ERR_OUT_OF_MEMORY",
      message: expect.stringMatching(
        new RegExp(
          String.raw`^Could not allocate \d+ bytes on cuda:0 \(.+\): \d+ bytes in use, .+, limited to ${limit}$`,
        ),
      ),
    });
    expect(found.loading).toEqual(says(100_000));
    expect(found.failures).toEqual([says(found.limit), says(found.limit)]);
    const { used, cached, peak, limit } = found.figures;
    expect(limit).toBe(found.limit);
    expect(used + cached).toBeLessThanOrEqual(limit);
    expect(peak).toBeGreaterThan(used + cached);
    expect(peak).toBeLessThanOrEqual(limit);
    expect(found).toMatchObject({ usable: true, text: true, lifted: 0 });
  });

  test("a limit for a value that is not a CUDA device, or that is not a number of bytes", async () => {
    for (const device of ["cpu", "auto", "cuda:", 0])
      await expect(setDeviceMemoryLimit(device as "cuda", 1)).rejects.toMatchObject({
        code: "ERR_ARGUMENT",
        message: expect.stringMatching(/^Expected "cuda" or "cuda:N" for device but received /),
      });
    for (const bytes of [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53, "1"])
      await expect(setDeviceMemoryLimit("cuda", bytes as number)).rejects.toMatchObject({
        code: "ERR_ARGUMENT",
        message: expect.stringMatching(/^Expected an integer from 0 to \d+ for bytes but received /),
      });
    await expect(setDeviceMemoryLimit("cuda:7", 1)).rejects.toMatchObject({
      code: "ERR_DEVICE",
      message: expect.stringMatching(/^Expected a CUDA device for device "cuda:7" but there is only cuda:0 \(.+\)$/),
    });
    expect(cuda.memory().device!.limit).toBe(0);
  });

  test("a lost device: its jobs reject, and models elsewhere still work", () => {
    const found = inProcess<{ pending: Failed[]; later: Failed[]; same: boolean[]; fallback: { kind: string } }>(
      "lost",
      {
        RUBRICATE_EMULATION_DEVICES: "2",
      },
    );
    expect(found.pending).toHaveLength(4);
    expect(found.later).toHaveLength(3);
    for (const failed of [...found.pending, ...found.later])
      expect(failed).toEqual({
        code: "ERR_DEVICE_LOST",
        message: expect.stringMatching(/^cuda:1 \(.+\) was lost: /),
      });
    expect(found.same).toEqual([true, true, true]);
    expect(found.fallback).toEqual({
      kind: "cuda",
      index: 0,
      name: expect.any(String),
      matmul: expect.any(String),
    });
  });
});
