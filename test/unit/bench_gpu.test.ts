/** bench/gpu/run.sh with a program that only says what it is asked: what a section loses, and what the others keep. */
import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

const root = join(__dirname, "..", "..");
const timed = ["training", "rows", "profile", "decoding", "products"];
let build: string;

beforeEach(() => {
  build = mkdtempSync(join(tmpdir(), "rubricate-gpu-"));
  const plugin = join(build, "native/device/cuda/emulated/librubricate_cuda_emulated.so");
  mkdirSync(dirname(plugin), { recursive: true });
  writeFileSync(plugin, "");
});
afterEach(() => rmSync(build, { recursive: true, force: true }));

function program(name: string, body: string) {
  const path = join(build, name);
  writeFileSync(path, `#!/bin/sh\n${body}\n`);
  chmodSync(path, 0o755);
}

/** The program of the script: it writes a row, and in the section `hanging` never ends. */
const bench = (hanging: string, why = "") => `
section=$1
while [ "$1" != --out ]; do shift; done
if [ "$section" = machine ]; then printf '{"noCublaslt": "${why}"}' > "$2"; exit 0; fi
printf '[{"section": "%s"}]' "$section" > "$2"
[ "$section" != ${hanging} ] || sleep 60`;

function run(...options: string[]) {
  const given = ["--built", "--rehearse", "--build", build, "--python", "false", ...options];
  const child = spawnSync(join(root, "bench/gpu/run.sh"), given, {
    encoding: "utf8",
    env: { ...process.env, RUBRICATE_TEST_SECONDS: "1" },
  });
  return { status: child.status, output: child.stdout + child.stderr };
}
const result = () => JSON.parse(readFileSync(join(build, "result.json"), "utf8"));

test.each(timed)("%s is ended at its limit; its rows so far and the other sections are kept", (section) => {
  program("bench_gpu", bench(section));
  const { status, output } = run("--seconds", "1", "--sections", timed.join(" "));
  expect(output).toContain(`${section} was ended after 1 s; its rows so far are kept`);
  expect(status).toBe(1);
  for (const name of timed) expect(result()[name]).toEqual([{ section: name }]);
});

test("tests run by folder, each in its own process, on the device's multiprocessors and on 4; one that hangs or fails loses no other", () => {
  program("bench_gpu", bench("none"));
  const hangs = "case $1 in *swiglu*) sleep 60 ;; *optimizer*) exit 3 ;; esac";
  program("rubricate_tests", `echo "$1 on $RUBRICATE_MULTIPROCESSORS"; ${hangs}`);
  const { status } = run("--sections", "tests rows");
  expect(status).toBe(1);
  const folders = ["native/ops/block_linear/", "native/ops/swiglu/", "native/optimizer/"];
  const rows: { folder: string; multiprocessors: string; passed: boolean; timedOut: boolean; last: string }[] =
    result().tests;
  expect(rows.map(({ folder, multiprocessors }) => [folder, multiprocessors])).toEqual(
    folders.flatMap((folder) => [
      [folder, "the device's"],
      [folder, "4"],
    ]),
  );
  expect(rows.map(({ passed, timedOut }) => [passed, timedOut])).toEqual([
    [true, false],
    [true, false],
    [false, true],
    [false, true],
    [false, false],
    [false, false],
  ]);
  expect(rows[1]!.last).toBe("-sf=*/native/ops/block_linear/* on 4");
  expect(result().rows).toEqual([{ section: "rows" }]);
});

test("without cuBLASLt it stops, unless it is told to go on", () => {
  program("bench_gpu", bench("none", "no libcublasLt.so.13"));
  const stopped = run("--sections", "rows");
  expect(stopped.status).toBe(1);
  expect(stopped.output).toMatch(/cuBLASLt cannot be used.*RUBRICATE_CUBLASLT_LIBRARY, or give --own-matmul/);
  expect(run("--sections", "rows", "--own-matmul").status).toBe(0);
});

test.each([
  [["--seconds", "0"], /a number of seconds for --seconds but received 0/],
  [["--sections", "rows lines"], /Expected sections of tests .* but received lines/],
  [["--out"], /Expected a value after --out/],
  [["--unknown"], /bench\/gpu\/run.sh \[options\]/],
])("%j is refused", (options, message) => {
  const { status, output } = run(...options);
  expect(status).toBe(2);
  expect(output).toMatch(message);
});

test("a folder without a program is named", () => {
  expect(run()).toMatchObject({
    status: 1,
    output: expect.stringMatching(/Expected .*bench_gpu: build it here without --built/),
  });
});

test("the script is plain sh", () => {
  execFileSync("sh", ["-n", join(root, "bench/gpu/run.sh")]);
});

test("the model of cost predicts from counts, says so, and prints what was measured beside it", () => {
  const script = join(root, "bench/gpu/cost_model.mjs");
  const model = (...args: string[]) => execFileSync(process.execPath, [script, ...args], { encoding: "utf8" });
  const { prediction, training, decoding } = JSON.parse(model("--json"));
  expect(prediction).toBe(true);
  expect(training.map(({ sequences }: { sequences: number }) => sequences)).toEqual([1, 8, 16]);
  for (const { launches, milliseconds, rows } of training) {
    expect(launches).toBe(983);
    const onDevice = rows.reduce((sum: number, row: { milliseconds: number }) => sum + row.milliseconds, 0);
    expect(milliseconds).toBeCloseTo(onDevice + 1.2, 6);
  }
  expect(decoding.shareOfBandwidth).toBeGreaterThan(0.5);
  expect(decoding.shareOfBandwidth).toBeLessThan(1);
  writeFileSync(join(build, "result.json"), JSON.stringify({ training: [{ batch: 8, tokensPerSecond: 12345.6 }] }));
  const text = model("--result", join(build, "result.json"));
  expect(text.match(/\(prediction\)/g)!.length).toBeGreaterThanOrEqual(7);
  expect(text.match(/measured 12345\.6/g)).toHaveLength(1);
  expect(text.match(/not measured/g)).toHaveLength(3);
});
