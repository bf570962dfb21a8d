/**
 * The provider of matmuls on a CUDA device, from JavaScript: with a fake library instead of cuBLASLt
 * (native/device/cuda/emulated/fake_cublaslt.cc), without one, and with some that cannot be used. Processes of their own: a
 * library is opened once.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import type { MatmulRecord, ModelDevice } from "../../lib/model/device";
import { LanguageModel } from "../../lib/model/model";
import { folderOf, relativeError } from "../parity/fixtures";
import { nodeArguments, spawnCli } from "../unit/cli_support";
import { temporaryFolder } from "../unit/failing_files";

const plugin = process.env.RUBRICATE_CUDA_LIBRARY ?? "";
const nextToPlugin = (name: string) => join(dirname(plugin), name);
const fake = nextToPlugin("libfake_cublaslt.so");
const describeOnEmulation = plugin && existsSync(fake) ? describe : describe.skip;

interface Found {
  readonly device: ModelDevice;
  readonly logits: number[];
  readonly matmuls: MatmulRecord[];
  readonly notices: string[];
  readonly error?: { code: string; message: string };
}

/** The result of a process with these settings. */
function withSettings(settings: Record<string, string>, device = "cuda", ...folder: string[]): Found {
  const child = spawnSync(
    process.execPath,
    [...nodeArguments.slice(0, 2), join(__dirname, "cuda_matmul_child.cjs"), device, ...folder],
    { encoding: "utf8", env: { ...process.env, ...settings }, timeout: 50_000 },
  );
  expect({ status: child.status, stderr: child.stderr }).toEqual({ status: 0, stderr: "" });
  return JSON.parse(child.stdout);
}

const doctorsLine = (settings: Record<string, string>) =>
  spawnCli(["doctor"], settings)
    .stdout.split("\n")
    .find((line) => / matmul /.test(line));

describeOnEmulation("with a library in cuBLASLt's place", () => {
  test("cuBLASLt runs matmuls if RUBRICATE_MATMUL selects it, with the CPU's logits", async () => {
    const { device, logits, matmuls } = withSettings({
      RUBRICATE_CUBLASLT_LIBRARY: fake,
      RUBRICATE_MATMUL: "cublaslt",
    });
    expect(device).toMatchObject({ kind: "cuda", matmul: "cuBLASLt 13.1.1, cublaslt" });
    const theirs = matmuls.filter(({ provider }) => provider === "cublaslt");
    expect(theirs.length).toBeGreaterThan(0);
    for (const product of theirs)
      expect(product).toMatchObject({ m: 4, layout: "NT", a: "float32", c: "float32", accumulates: false });
    using cpu = await LanguageModel.fromPretrained(folderOf("gqa"), { device: "cpu" });
    expect(cpu.matmuls()).toEqual([]);
    expect(relativeError(Float32Array.from(logits), await cpu.logits([1, 17, 44, 9]))).toBeLessThan(5e-6);
  });

  test("by default a small model uses our own kernels, bit-identical to a machine without cuBLASLt", () => {
    const there = withSettings({ RUBRICATE_CUBLASLT_LIBRARY: fake, RUBRICATE_MATMUL: "auto" });
    expect(there.device.matmul).toBe("cuBLASLt 13.1.1, auto");
    expect(there.matmuls.length).toBeGreaterThan(0);
    for (const { provider, count } of there.matmuls) {
      expect(provider).toBe("own");
      expect(count).toBeGreaterThan(0);
    }
    const absent = withSettings({ RUBRICATE_CUBLASLT_LIBRARY: "none" });
    expect(absent.device.matmul).toBe("own kernels");
    expect(absent.logits).toEqual(there.logits);
    expect(withSettings({ RUBRICATE_CUBLASLT_LIBRARY: fake, RUBRICATE_MATMUL: "own" }).device.matmul).toBe(
      "own kernels",
    );
  });

  test("if cuBLASLt has no algorithm, our own kernels are used, and the record has the reason", () => {
    const { matmuls } = withSettings({
      RUBRICATE_CUBLASLT_LIBRARY: fake,
      RUBRICATE_MATMUL: "cublaslt",
      RUBRICATE_EMULATION_CUBLASLT: "no algorithm",
    });
    const refused = matmuls.filter((product) => product.refused !== undefined);
    expect(refused.length).toBeGreaterThan(0);
    expect(matmuls.map(({ provider }) => provider)).not.toContain("cublaslt");
    expect(refused[0]!.refused).toBe("cublasLtMatmulAlgoGetHeuristic gave CUBLAS_STATUS_NOT_SUPPORTED");
  });

  test("a checkpoint names the provider of matmuls, and resuming with another one is reported", () => {
    const root = temporaryFolder();
    try {
      const own = { RUBRICATE_CUBLASLT_LIBRARY: "none" };
      const theirs = { RUBRICATE_CUBLASLT_LIBRARY: fake, RUBRICATE_MATMUL: "cublaslt" };
      expect(withSettings(own, "cuda", root).notices).toEqual([]);
      const state = (step: number) =>
        JSON.parse(readFileSync(join(root, `checkpoint-${step}`, "trainer_state.json"), "utf8"));
      expect(state(1).matmul).toBe("own kernels");
      expect(withSettings(own, "cuda", root).notices).toEqual([]);
      expect(withSettings(theirs, "cuda", root).notices).toEqual([
        expect.stringMatching(/checkpoint-2 .* a GPU \(own kernels\) .* a GPU \(cuBLASLt 13\.1\.1, cublaslt\): /),
      ]);
      expect(state(3).matmul).toBe("cuBLASLt 13.1.1, cublaslt");
      expect(state(3).matmuls).toContainEqual(
        expect.objectContaining({ layout: "NN", provider: "cublaslt", count: expect.any(Number) }),
      );
    } finally {
      rmSync(root, { recursive: true, force: true });
    }
  });

  test.each([
    ["none", {}, /own kernels: RUBRICATE_CUBLASLT_LIBRARY is none$/],
    [fake, {}, /cuBLASLt 13\.1\.1, auto$/],
    [fake, { RUBRICATE_MATMUL: "own" }, /own kernels: RUBRICATE_MATMUL is own$/],
    [
      fake,
      { RUBRICATE_EMULATION_CUBLASLT_VERSION: "110502" },
      /own kernels: .*its version is 11\.5\.2, but 12 or 13 is needed$/,
    ],
    [
      fake,
      { RUBRICATE_EMULATION_CUBLASLT: "no handle" },
      /own kernels: cublasLtCreate gave CUBLAS_STATUS_NOT_INITIALIZED$/,
    ],
    [
      nextToPlugin("libfake_cublaslt_without_matmul.so"),
      {},
      /own kernels: .* cannot be used: it has no cublasLtMatmul$/,
    ],
    [
      "none",
      { RUBRICATE_MATMUL: "cublaslt" },
      /^FAIL .* cuBLASLt, which cannot be used: RUBRICATE_CUBLASLT_LIBRARY is none$/,
    ],
    [nextToPlugin("missing.so"), {}, /own kernels: cuBLASLt cannot be opened: .*missing\.so/],
  ])("doctor reports the provider: %s %j", (library, settings, says) => {
    expect(doctorsLine({ RUBRICATE_CUBLASLT_LIBRARY: library, ...settings })).toMatch(says);
  });

  test.each(["cuda", "auto"])("device %s: cuBLASLt that is selected but not available is an error", (device) => {
    const { error } = withSettings({ RUBRICATE_CUBLASLT_LIBRARY: "none", RUBRICATE_MATMUL: "cublaslt" }, device);
    expect(error).toEqual({
      code: "ERR_ARGUMENT",
      message: expect.stringMatching(
        /^Expected RUBRICATE_MATMUL=cublaslt only where cuBLASLt can be used on cuda:0 \(.+\) but it cannot: .* is none$/,
      ),
    });
  });

  test("another value of RUBRICATE_MATMUL is an error", () => {
    expect(withSettings({ RUBRICATE_MATMUL: "fast" }).error).toEqual({
      code: "ERR_ARGUMENT",
      message: "Expected auto, own or cublaslt for RUBRICATE_MATMUL but received fast",
    });
  });
});
