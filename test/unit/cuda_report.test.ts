// The scripts that check the compiler's reports of the CUDA plug-in, tested with made-up reports.
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const root = join(__dirname, "../..");
const redEdit = "_ZN9rubricate4cuda12_GLOBAL__N_18red_editINS_4bf16ELb1EEEvNS0_8EditArgsEl"; // red_edit<bf16, true>
const architectures = [75, 80, 86, 89, 90, 100, 120];
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "rubricate-report-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

/** The report of one kernel: what ptxas says for each architecture, and the PTX. */
function report({ registers = 64, spilled = 0, shared = 0, of = architectures, body = "", threads = 256 } = {}) {
  const path = join(folder, "ops", "red_edit_cuda.cu.o.report");
  mkdirSync(path, { recursive: true });
  const said = of.map((architecture) =>
    [
      `ptxas info    : Compiling entry function '${redEdit}' for 'sm_${architecture}'`,
      `ptxas info    : Function properties for ${redEdit}`,
      `    0 bytes stack frame, ${spilled} bytes spill stores, 0 bytes spill loads`,
      `ptxas info    : Used ${registers} registers, used 1 barriers, ${shared} bytes smem, 608 bytes cmem[0]`,
    ].join("\n"),
  );
  writeFileSync(join(path, "ptxas.txt"), said.join("\n"));
  for (const target of [75, 80]) {
    const head = `// Cuda compilation tools, release 13.0, V13.0.1\n.version 9.0\n.target sm_${target}\n.address_size 64\n`;
    const kernel = `.entry ${redEdit}(\n)\n.maxntid ${threads}, 1, 1\n{\n${body}\n}\n`;
    writeFileSync(join(path, `red_edit_cuda.compute_${target}.ptx`), head + kernel);
  }
}

/** A cubin of one kernel for sm_80: a loop of `instructions`, the first `mma` of them tensor core instructions and the last a jump back. */
function cubin(instructions: number, mma: number) {
  const code = Buffer.alloc(16 * (instructions + 1)); // one more after the loop
  for (let at = 0; at < mma; at++) code.writeUInt16LE(0x23c, 16 * at);
  const last = 16 * (instructions - 1);
  const distance = BigInt.asUintN(48, BigInt(-4 * instructions)) << 34n;
  code.writeBigUInt64LE(BigInt.asUintN(64, distance) | 0x947n, last);
  code.writeBigUInt64LE(distance >> 64n, last + 8);
  const names = Buffer.from(`\0.text.${redEdit}\0.shstrtab\0`);
  const header = Buffer.alloc(64);
  header.writeBigUInt64LE(BigInt(64 + code.length + names.length), 40);
  header.writeUInt32LE(80, 48);
  for (const [at, value] of [
    [58, 64],
    [60, 3],
    [62, 2],
  ] as const)
    header.writeUInt16LE(value, at);
  const section = (name: number, offset: number, size: number) => {
    const bytes = Buffer.alloc(64);
    bytes.writeUInt32LE(name);
    bytes.writeBigUInt64LE(BigInt(offset), 24);
    bytes.writeBigUInt64LE(BigInt(size), 32);
    return bytes;
  };
  const sections = [
    section(0, 0, 0),
    section(1, 64, code.length),
    section(names.indexOf(".shstrtab"), 64 + code.length, names.length),
  ];
  const path = join(folder, "ops", "red_edit_cuda.cu.o.report", "red_edit_cuda.compute_80.sm_80.cubin");
  writeFileSync(path, Buffer.concat([header, code, names, ...sections]));
}

function run(script: string, ...args: string[]) {
  const found = spawnSync(process.execPath, [join("native/scripts", script), ...args], { cwd: root, encoding: "utf8" });
  return { status: found.status, said: found.stderr + found.stdout };
}

describe("the table of resources", () => {
  const table = () => join(folder, "RESOURCES.md");
  const row = () =>
    readFileSync(table(), "utf8")
      .split("\n")
      .find((line) => line.includes("red_edit<bf16, true>"));

  test.each([
    // A block is 8 warps of 64 registers a lane: 4 blocks of registers.
    [{}, "| 256 | 0 | 64 / 100 % | 64 / 50 % | 64 / 67 % | 64 / 67 % | 64 / 50 % | 64 / 50 % | 64 / 67 % |"],
    // 48 KiB, and 1 KiB of the system's from sm_80 on: 1, 3, 2, 2, 4, 4, 2 blocks.
    [
      { registers: 32, shared: 49152 },
      "| 256 | 49152 | 32 / 25 % | 32 / 38 % | 32 / 33 % | 32 / 33 % | 32 / 50 % | 32 / 50 % | 32 / 33 % |",
    ],
  ])("has the occupancy that follows from the limits: %j", (kernel, expected) => {
    report(kernel);
    expect(run("cuda_resources.mjs", folder, table())).toMatchObject({ status: 0 });
    expect(row()).toBe(`| \`red_edit<bf16, true>\` ${expected}`);
  });

  test("has the instructions for each tensor core instruction, and takes more of them with --slower alone", () => {
    report();
    cubin(12, 4);
    expect(run("cuda_resources.mjs", folder, table())).toMatchObject({ status: 0 });
    expect(row()).toContain("| 64 / 50 % / 3.0 m |");
    cubin(14, 4);
    const { status, said } = run("cuda_resources.mjs", folder, table());
    expect(status).toBe(1);
    expect(said).toContain("red_edit<bf16, true> has 3.5 instructions for the work of 3 on sm_80");
    expect(row()).toContain("| 64 / 50 % / 3.0 m |");
    expect(run("cuda_resources.mjs", "--check", folder, table()).status).toBe(1);
    expect(run("cuda_resources.mjs", "--slower", folder, table()).status).toBe(0);
    expect(row()).toContain("| 64 / 50 % / 3.5 m |");
    cubin(10, 4); // fewer are written
    expect(run("cuda_resources.mjs", folder, table()).status).toBe(0);
    expect(row()).toContain("| 64 / 50 % / 2.5 m |");
  });

  test("fails if a kernel spills, and names it", () => {
    report({ spilled: 24 });
    const { status, said } = run("cuda_resources.mjs", folder, table());
    expect(status).toBe(1);
    expect(said).toContain("red_edit<bf16, true> (red_edit_cuda.cu) spills 24 bytes of registers on sm_75");
    expect(row()).toContain("64 / 100 % / **24 spilled**");
  });

  test("fails if an architecture or the launch bounds are missing, or a block does not fit", () => {
    report({ of: [80], threads: 1 });
    const one = run("cuda_resources.mjs", folder, table());
    expect(one.status).toBe(1);
    expect(one.said).toContain("was not compiled for sm_120");
    expect(one.said).toContain("has no __launch_bounds__");
    report({ registers: 255, threads: 1024 });
    expect(run("cuda_resources.mjs", folder, table()).said).toContain("does not fit on sm_90");
  });

  test("--check passes on the table of the same build, and shows the lines in which another one differs", () => {
    report();
    run("cuda_resources.mjs", folder, table());
    expect(run("cuda_resources.mjs", "--check", folder, table())).toMatchObject({ status: 0 });
    report({ registers: 40 });
    const { status, said } = run("cuda_resources.mjs", "--check", folder, table());
    expect(status).toBe(1);
    expect(said).toMatch(/RESOURCES\.md differs from the build/);
    expect(said).toMatch(/^- .*64 \/ 50 %/m);
    expect(said).toMatch(/^\+ .*40 \/ 75 %/m);
  });

  test("--check-few compares the columns of a build of some architectures with the whole table", () => {
    report();
    run("cuda_resources.mjs", folder, table());
    const whole = readFileSync(table(), "utf8");
    report({ of: [75, 80, 90] });
    const fits = run("cuda_resources.mjs", "--check-few", folder, table());
    expect(fits).toMatchObject({ status: 0, said: expect.stringContaining("1 kernels, 3 architectures, 0 problems") });
    expect(run("cuda_resources.mjs", "--check", folder, table()).said).toContain("was not compiled for sm_86");
    writeFileSync(table(), whole.replaceAll("64 / 50 % |\n", "").replace(/\| 64 \/ 67 %/g, "| 63 / 67 %")); // other columns
    expect(run("cuda_resources.mjs", "--check-few", folder, table())).toMatchObject({ status: 0 });
    report({ of: [75, 80, 90], registers: 40 });
    expect(run("cuda_resources.mjs", "--check-few", folder, table()).said).toMatch(
      /^\+ .*\| 40 .*\| 40 .*\| 40 [^|]*\|$/m,
    );
    report({ of: [75, 80] });
    expect(run("cuda_resources.mjs", "--check-few", folder, table()).said).toContain("was not compiled for sm_90");
  });
});

describe("the instructions of the PTX", () => {
  const load = "\tld.global.cs.v4.u32 {%r1, %r2, %r3, %r4}, [%rd1];";
  const store = "\tst.global.v4.u32 [%rd2], {%r1, %r2, %r3, %r4};";
  const complaint = "red_edit<bf16, true>: expected";

  test("accesses of 16 bytes are found", () => {
    report({ body: `${load}\n${store}` });
    expect(run("cuda_instructions.mjs", folder).said).not.toContain(complaint);
  });

  const parts = [0, 4, 8, 12]
    .map((at) => `\tst.global.u32 [%rd3+${at}], %r1;`)
    .join("\n")
    .replace("+0]", "]");
  test.each([
    ["16-byte loads", `\tld.global.u32 %r1, [%rd1];\n\tld.shared.v4.u32 {%r1, %r2, %r3, %r4}, [%rd1];\n${store}`],
    ["16-byte loads", `\tld.global.v2.u32 {%r1, %r2}, [%rd1];\n${store}`],
    ["16-byte stores", `${load}\n\tst.global.u32 [%rd2], %r1;`],
    ["no 16-byte access in four parts", `${load}\n${store}\n${parts}`],
  ])("a kernel without the expected instructions fails: %s", (need, body) => {
    report({ body });
    const { status, said } = run("cuda_instructions.mjs", folder);
    expect(status).toBe(1);
    expect(said).toContain(`${complaint} ${need} in its PTX for sm_75`);
    expect(said).toContain(`${complaint} ${need} in its PTX for sm_80`);
  });

  test("a missing kernel fails", () => {
    report({ body: `${load}\n${store}` });
    const { status, said } = run("cuda_instructions.mjs", folder);
    expect(status).toBe(1);
    expect(said).toContain("no kernel matches /^matmul_tensor_cores</");
  });
});
