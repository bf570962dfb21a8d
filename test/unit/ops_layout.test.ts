// The folders of native/ops: the same seven files for each op, as CONTRIBUTING.md says, and each source built.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

const root = join(__dirname, "..", "..");
const ops = join(root, "native", "ops");
const folders = readdirSync(ops, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map((entry) => entry.name);
const filesOf = (folder: string) => readdirSync(join(ops, folder)).sort();

/** Not ops: code shared by ops. */
const shared = ["row_sums", "shared", "slots"];
const seven = (name: string) =>
  [".cc", ".h", "_cpu.cc", "_cuda.cu", "_kernels.h", "_kernels.inl", "_test.cc"].map((end) => name + end);
/** Files that an op has in addition to the seven, or lacks. */
const more: Record<string, string[]> = {
  rms_norm: ["rms_norm.cuh"],
  cross_entropy: ["log_sum.inl"],
  sparse_delta: ["sparse_index.cc", "sparse_index.h"],
  sampling: [
    ...["", "_cpu"].map((end) => `log_probs${end}.cc`),
    ...[".h", "_kernels.h", "_kernels.inl", "_test.cc"].map((end) => `log_probs${end}`),
    ...["sample_rows.cc", "sampling_row.h", "sampling_penalties_test.cc", "token_counts.h"],
  ],
};
const severalKernels = ["attention", "linear"];
const withoutVectors = ["sampling"];
/** Without kernels of their own: they run others' on the tape. */
const ofOtherOps = ["low_rank", "block_linear", "steps"];

const plainOps = folders.filter(
  (name) => ![...shared, ...severalKernels, ...withoutVectors, ...ofOtherOps].includes(name),
);

test.each(plainOps)("%s has the seven files of an op, and no others", (name) => {
  expect(filesOf(name)).toEqual([...seven(name), ...(more[name] ?? [])].sort());
});

test.each(severalKernels)("%s, which has several kernels, has the seven files too", (name) => {
  expect(filesOf(name)).toEqual(expect.arrayContaining(seven(name)));
});

test.each(withoutVectors)("%s has the seven files except the CPU's vector kernels", (name) => {
  const expected = seven(name).filter((file) => !/_cpu\.cc$|\.inl$/.test(file));
  expect(filesOf(name)).toEqual([...expected, ...(more[name] ?? [])].sort());
});

test.each(ofOtherOps)("%s has the files of an op without kernels", (name) => {
  expect(filesOf(name)).toEqual([`${name}.cc`, `${name}.h`, `${name}_test.cc`]);
});

test("a header only for nvcc and the emulation ends in .cuh", () => {
  expect(folders.flatMap(filesOf).filter((file) => /_cuda\.h$/.test(file))).toEqual([]);
});

test("each source of an op is in native/sources.json, in the list of its kind", () => {
  const sources = JSON.parse(readFileSync(join(root, "native", "sources.json"), "utf8")) as Record<string, string[]>;
  const listOf = (file: string) => (file.endsWith(".cu") ? "cuda" : file.endsWith("_test.cc") ? "tests" : "core");
  for (const folder of folders)
    for (const file of filesOf(folder).filter((name) => /\.(cc|cu)$/.test(name)))
      expect(sources[listOf(file)]).toContain(`native/ops/${folder}/${file}`);
});
