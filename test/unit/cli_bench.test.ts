/** `rubricate bench`: what it says of the machine and of times, and comparisons with stored results. No test looks at a time. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { compared, readStored } from "../../lib/cli/bench_compare";
import { processorOf, processorText } from "../../lib/cli/bench_machine";
import { resultOf } from "../../lib/cli/bench_timing";
import { runCli } from "./cli_support";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "rubricate-cli-bench-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const at = (name: string) => join(folder, name);

const zen3 = `processor	: 0
vendor_id	: AuthenticAMD
cpu family	: 25
model		: 1
model name	: AMD EPYC
stepping	: 1
flags		: fpu vme sse2 fma avx f16c avx2 vaes smep

processor	: 1
model		: 99
`;
const neoverse = `processor	: 0
Features	: fp asimd sve bf16
CPU implementer	: 0x41
CPU architecture: 8
CPU variant	: 0x1
CPU part	: 0xd40
`;

test.each([
  ["x64", zen3, "AMD EPYC (AuthenticAMD family 25 model 1 stepping 1)", "avx avx2 f16c fma"],
  ["arm64", neoverse, "Some (0x41 family 8 model 0xd40 stepping 0x1)", "asimd bf16 sve"],
  ["another system", "", "Some", ""],
])("a processor of %s is told apart from others of its name", (_, text, shown, flags) => {
  const processor = processorOf(text, "Some");
  expect([processorText(processor), processor.flags]).toEqual([shown, flags]);
});

describe("the result of a case", () => {
  const peaks = { float32: 200e9, bfloat16: 400e9, read: 10e9 };
  const one = { group: "g", name: "n", work: 2, unit: "GFLOP/s" } as const;

  test("has the best, the median and the interquartile range of the runs, in any order", () => {
    expect(resultOf(one, [50, 10, 40, 20, 30], peaks)).toEqual({
      name: "g: n",
      runs: 5,
      calls: 1,
      bestMs: 10,
      medianMs: 30,
      spread: 20 / 30,
      rate: 200,
      unit: "GFLOP/s",
      peakShare: null,
    });
    expect(resultOf(one, [10, 30], peaks)).toMatchObject({ medianMs: 20, spread: 0.5 });
  });

  test("has the times of a call, and the rate of all", () => {
    const result = resultOf({ ...one, unit: "calls/s", work: 100, calls: 100 }, [50, 50], peaks);
    expect(result).toMatchObject({ calls: 100, bestMs: 0.5, medianMs: 0.5, rate: 2000 });
  });

  test.each([
    ["float32", 0.5],
    ["bfloat16", 0.25],
    ["read", 10],
  ] as const)("has its share of the peak of %s", (peak, share) => {
    expect(resultOf({ ...one, work: 1, peak }, [10, 10], peaks).peakShare).toBeCloseTo(share, 12);
  });
});

describe("a comparison", () => {
  const machine = { processor: processorOf(zen3, ""), kernels: "avx2", threads: 2, cores: 2, device: "cpu" };
  const now = {
    machine,
    isQuick: false,
    results: [
      { name: "a", rate: 30 },
      { name: "new", rate: 1 },
    ],
  };
  const before = {
    ...now,
    results: [
      { name: "a", rate: 20 },
      { name: "old", rate: 1 },
    ],
  };

  test("divides rates by case, and names the cases of one side", () => {
    const { differences, ratios, missing } = compared(now, before);
    expect([differences, [...ratios], missing]).toEqual([
      [],
      [
        ["a", 1.5],
        ["new", null],
      ],
      ["old"],
    ]);
  });

  test.each([
    ["threads", { threads: 4 }, "threads 2, not 4"],
    ["kernels", { kernels: "avx512" }, "kernels avx2, not avx512"],
    ["processors", { cores: 8 }, "processors 2, not 8"],
    ["the device", { device: "cuda:0" }, "device cpu, not cuda:0"],
    [
      "the processor's model, of the same name",
      { processor: { ...machine.processor, model: "17" } },
      "processor AMD EPYC (AuthenticAMD family 25 model 1 stepping 1), not AMD EPYC (AuthenticAMD family 25 model 17 stepping 1)",
    ],
    [
      "instruction sets",
      { processor: { ...machine.processor, flags: "avx2" } },
      "instruction sets avx avx2 f16c fma, not avx2",
    ],
  ])("says that %s differ", (_, other, said) => {
    expect(compared(now, { ...before, machine: { ...machine, ...other } }).differences).toEqual([said]);
  });

  test("says that one of them was brief", () => {
    expect(compared(now, { ...before, isQuick: true }).differences).toEqual(["effort full, not --quick"]);
  });

  test("reads results of both benchmarks, whose names are written differently", async () => {
    for (const [file, result] of [
      ["cli.json", { name: "g: n", rate: 2 }],
      ["checkout.json", { group: "g", name: "n", rate: 2 }],
    ] as const) {
      writeFileSync(at(file), JSON.stringify({ machine, quick: true, results: [result] }));
      expect(await readStored(at(file))).toEqual({ machine, isQuick: true, results: [{ name: "g: n", rate: 2 }] });
    }
  });

  test.each([
    ["{}"],
    ["[]"],
    ['{"machine":{},"results":[]}'],
    ['{"machine":{},"results":[{"name":"a"}]}'],
    ['{"machine":{},"results":[{"name":"a","rate":0}]}'],
    ['{"results":[{"name":"a","rate":1}]}'],
  ])("refuses %s", async (text) => {
    writeFileSync(at("other.json"), text);
    await expect(readStored(at("other.json"))).rejects.toMatchObject({
      code: "ERR_JSON",
      message: expect.stringMatching(
        /^Expected results that "rubricate bench --out" wrote in ".*other.json" but found/,
      ),
    });
  });
});

describe("the command", () => {
  const quick = ["bench", "--quick", "--filter", "call overhead"];

  test("writes a file that it compares with", async () => {
    expect(await runCli([...quick, "--out", at("a.json")])).toMatchObject({ status: 0 });
    const written = JSON.parse(readFileSync(at("a.json"), "utf8"));
    expect(written).toMatchObject({ quick: true, date: expect.any(String), machine: { peaks: expect.any(Object) } });
    for (const peak of ["float32", "bfloat16", "read"]) expect(written.machine.peaks[peak]).toBeGreaterThan(0);
    expect(written.results.map(({ calls }: { calls: number }) => calls)).toEqual([100, 100, 100]);
    written.machine.threads = 1000;
    writeFileSync(at("a.json"), JSON.stringify(written));
    const { status, stdout } = await runCli([...quick, "--compare", at("a.json"), "--json"]);
    const { compared: comparison, results } = JSON.parse(stdout);
    expect([status, results.length, Object.keys(comparison.ratios).length]).toEqual([0, 3, 3]);
    expect(comparison.differences).toEqual([expect.stringMatching(/^threads \d+, not 1000$/)]);
    const shown = (await runCli([...quick, "--compare", at("a.json")])).stdout;
    expect(shown).toMatch(/^not the machine or effort of .*a\.json: threads \d+, not 1000/m);
    expect(shown).toMatch(/^case +best +median +spread +rate +of peak +runs +ratio$/m);
  });

  test("runs nothing if its files cannot be used, or no case matches", async () => {
    const before = readdirSync(folder);
    expect(await runCli([...quick, "--compare", at("nothing.json")])).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(/nothing\.json.*ERR_FILE/),
    });
    expect(await runCli([...quick, "--out", at("none/a.json")])).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(/Cannot write .*none\/a\.json.*ERR_FILE/),
    });
    expect(await runCli(["bench", "--filter", "nothing is called so"])).toMatchObject({
      status: 2,
      stderr: expect.stringMatching(/--filter but received "nothing is called so"; the cases are RED edit: /),
    });
    expect(readdirSync(folder)).toEqual(before);
  });
});
