// The addon with an unusable CUDA plug-in: everything on the CPU works, and each reason has its own message,
// in the error, in the model's `device` and in `rubricate doctor`. Each case has its own process: a plug-in is opened once.
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { nodeArguments, spawnCli } from "../unit/cli_support";

const root = join(__dirname, "..", "..");
const folder = mkdtempSync(join(tmpdir(), "rubricate-plugin-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Report {
  readonly device: { kind: string; reason?: string };
  readonly finite: boolean;
  readonly error: { code: string; message: string };
  readonly limit: string;
}

/** The result of a process with that plug-in: cuda_plugin_child.cjs. */
function withPlugin(library: string): Report {
  const child = spawnSync(process.execPath, [...nodeArguments.slice(0, 2), join(__dirname, "cuda_plugin_child.cjs")], {
    encoding: "utf8",
    env: { ...process.env, RUBRICATE_CUDA_LIBRARY: library },
    timeout: 50_000,
  });
  expect({ status: child.status, stderr: child.stderr }).toEqual({ status: 0, stderr: "" });
  return JSON.parse(child.stdout);
}

/** Builds a plug-in for the test from the two functions of native/device/cuda/abi.h. */
function compile(name: string, functions: string): string {
  const source = join(folder, `${name}.cc`);
  const library = join(folder, `${name}.so`);
  writeFileSync(source, `#include "device/cuda/abi.h"\nextern "C" {\n${functions}\n}\n`);
  const flags = ["-std=c++20", "-shared", "-fPIC", `-I${join(root, "native")}`];
  const { status, stderr } = spawnSync(process.env.CXX ?? "c++", [...flags, source, "-o", library], {
    encoding: "utf8",
  });
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  return library;
}

const kernels = "RubricateKernel rubricate_kernel(const char*) { return nullptr; }";
const table = (version: string, count: string) => `
  static const char* message() { return "The sentence of the plug-in"; }
  static int32_t count(int32_t* devices) { ${count} }
  static RubricateDeviceTable table;
  const RubricateDeviceTable* rubricate_device(int32_t abi) {
    table.abi = abi;
    table.version = "${version}";
    table.message = message;
    table.count = count;
    return &table;
  }
  ${kernels}`;
const version: string = require("../../package.json").version;

const cases: { what: string; library: () => string; says: RegExp }[] = [
  {
    what: "missing",
    library: () => join(folder, "missing.so"),
    says: /The CUDA plug-in \S+missing\.so is missing; npm run build:cuda builds it/,
  },
  {
    what: "broken",
    library() {
      const file = join(folder, "broken.so");
      writeFileSync(file, "\x7fELF, and then no more");
      return file;
    },
    says: /The CUDA plug-in \S+broken\.so cannot be opened: \S+broken\.so: /,
  },
  {
    what: "another library",
    library: () => compile("another", "int no_plugin() { return 1; }"),
    says: /another\.so cannot be used: it has no rubricate_device and rubricate_kernel/,
  },
  {
    what: "of another interface",
    library: () =>
      compile("interface", `const RubricateDeviceTable* rubricate_device(int32_t) { return nullptr; } ${kernels}`),
    says: /interface\.so belongs to another version of rubricate: this one, \S+, needs interface \d+; rebuild it with npm run build:cuda/,
  },
  {
    what: "of another version",
    library: () => compile("version", table("0.0.1", "*devices = 1; return RUBRICATE_OK;")),
    says: new RegExp(
      `version\\.so belongs to rubricate 0\\.0\\.1, not to this one, ${version}; rebuild it with npm run build:cuda`,
    ),
  },
  {
    what: "without a driver",
    library: () => compile("driver", table(version, "*devices = 0; return RUBRICATE_NO_DRIVER;")),
    says: /The sentence of the plug-in/,
  },
  {
    what: "without a device",
    library: () => compile("device", table(version, "*devices = 0; return RUBRICATE_OK;")),
    says: /No CUDA device was found/,
  },
];

test.each(cases)("a plug-in that is $what: the CPU works, and the reason is reported", ({ library, says }) => {
  const file = library();
  const { device, finite, error, limit } = withPlugin(file);
  expect(device).toEqual({ kind: "cpu", reason: expect.stringMatching(says) });
  expect(finite).toBe(true);
  expect(error.code).toBe("ERR_DEVICE");
  expect(error.message).toMatch(/^Expected a CUDA device for device "cuda" but cannot use one: /);
  expect(error.message).toMatch(says);
  expect(limit).toBe(error.message);

  const doctor = spawnCli(["doctor"], { RUBRICATE_CUDA_LIBRARY: file });
  expect(doctor.status).toBe(0);
  const line = doctor.stdout.split("\n").find((text) => / CUDA /.test(text));
  expect(line).toMatch(/^ok {4}CUDA +not used: /);
  expect(line).toMatch(says);
});

test("the plug-in is looked up next to the addon", () => {
  const { device } = withPlugin("");
  const triedPath = device.reason?.match(/The CUDA plug-in (\S+) /)?.[1];
  // If one has been built, it is used, and reports what this machine lacks.
  if (triedPath === undefined) expect(existsSync(join(root, "build/Release/librubricate_cuda.so"))).toBe(true);
  else expect(triedPath).toMatch(/\/librubricate_cuda\.so$/);
});
