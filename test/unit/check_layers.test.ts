// The lint that keeps native/ in layers: upward includes planted in a copy of it are found, each with its location.
import { spawnSync } from "node:child_process";
import { appendFileSync, cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const root = join(__dirname, "..", "..");
const script = join(root, "native", "scripts", "check_layers.mjs");
let copy: string;

beforeEach(() => {
  copy = mkdtempSync(join(tmpdir(), "rubricate-layers-"));
  cpSync(join(root, "native"), join(copy, "native"), { recursive: true });
  cpSync(join(root, "ARCHITECTURE.md"), join(copy, "ARCHITECTURE.md"));
});

afterEach(() => rmSync(copy, { recursive: true, force: true }));

function check(checkout: string) {
  const { status, stderr } = spawnSync(process.execPath, [script, checkout], { encoding: "utf8" });
  return { status, faults: stderr.split("\n").filter((line) => line !== "") };
}

/** Appends a line to a file of the copy, and returns its location as `file:line`. */
function plant(file: string, line: string): string {
  const path = join(copy, file);
  const lines = readFileSync(path, "utf8").split("\n").length; // the file ends with a newline
  appendFileSync(path, `${line}\n`);
  return `${file}:${lines}`;
}

test("the folders of native/ depend downwards only, as ARCHITECTURE.md draws them", () => {
  expect(check(root)).toEqual({ status: 0, faults: [] });
});

test("upward includes are found, each with its place and both folders", () => {
  const planted: [file: string, line: string, target: string, fault: string][] = [
    ...[
      ["native/autograd/tape.cc", "ops/rope/rope.h", "autograd/ may not include ops/, which is above it"],
      ["native/tensor/tensor.h", "autograd/var.h", "tensor/ may not include autograd/, which is above it"],
      ["native/ops/rope/rope_kernels.inl", "model/model.h", "ops/ may not include model/, which is above it"],
      ["native/ops/rope/rope_cuda.cu", "adapter/parts.h", "ops/ may not include adapter/, which is above it"],
      ["native/ops/shared/chunks.cuh", "optimizer/parameter.h", "ops/ may not include optimizer/, which is above it"],
      ["native/tensor/tensor_test.cc", "ops/shared/rows.h", "tensor/ may not include ops/, which is above it"],
      ["native/device/cuda/emulated/grid.cc", "tensor/tensor.h", "device/ may not include tensor/, which is above it"],
      ["native/train/train_step.h", "serve/engine.h", "train/ may not include serve/, which is above it"],
      ["native/model/model.cc", "tests/test_model.h", "only tests may include tests/"],
      ["native/model/model.h", "doctest/doctest.h", "only tests may include doctest/"],
      ["native/base/json.h", "helpers/a.h", "helpers/ is missing in the order of native/scripts/check_layers.mjs"],
    ].map(([file, target, fault]) => [file, `#include "${target}"`, target, fault] as [string, string, string, string]),
    // Other ways to write an include.
    [
      "native/base/json.cc",
      "  # include <tensor/tensor.h>",
      "tensor/tensor.h",
      "base/ may not include tensor/, which is above it",
    ],
    [
      "native/device/stream.cc",
      '#define RUBRICATE_KERNELS "ops/rope/rope_kernels.inl"',
      "ops/rope/rope_kernels.inl",
      "device/ may not include ops/, which is above it",
    ],
  ];
  const expected = planted.map(([file, line, target, fault]) => `${plant(file, line)}: includes "${target}": ${fault}`);
  const { status, faults } = check(copy);
  expect(status).toBe(1);
  expect(faults.sort()).toEqual(expected.sort());
});

test("includes of lower folders, of the system, and of what tests share in a test are fine", () => {
  plant("native/model/model.cc", '#include "base/error.h"');
  plant("native/base/json.cc", "#include <sys/stat.h>");
  plant("native/base/json_test.cc", '#include "tests/test_support.h"');
  expect(check(copy)).toEqual({ status: 0, faults: [] });
});

test("a drawing in another order is found", () => {
  const path = join(copy, "ARCHITECTURE.md");
  const text = readFileSync(path, "utf8");
  writeFileSync(path, text.replace("native/ops  ", "native/model").replace("native/model  ", "native/ops  "));
  const { status, faults } = check(copy);
  expect(status).toBe(1);
  expect(faults).toEqual([
    expect.stringMatching(/^ARCHITECTURE\.md: expected it to draw binding > serve > train > model > /),
  ]);
});
