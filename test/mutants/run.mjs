/**
 * Shows that the tests notice plausible bugs: applies each patch of this folder to a copy of the last commit, builds, and
 * runs the parts of `npm test` until one fails.
 *
 *     node test/mutants/run.mjs [--only NAME]... [--shard I/N] [--nearest] [--tests PATTERN] [--list]
 *
 * --only     the mutants of that name, in which * stands for any characters; may be given several times
 * --shard    the i-th of n shares of them, so that several processes can divide the work
 * --nearest  runs only the tests that the patch names as nearest; a mutant that they miss counts as survived
 * --tests    runs only Jest's test files whose path matches, instead of everything
 * --list     says which mutants there are
 *
 * A patch begins with a line that says what is wrong, and one that names the nearest tests:
 *     Nearest: native adamw_test[,...]        C++ test files
 *     Nearest: arm64 vec_test[,...]           the same, built for arm64 and run under qemu
 *     Nearest: cuda device_test              the same, with the emulated device
 *     Nearest: jest test/unit/schedule.test.ts
 * Patches, sources and tests are those of the commit, which the first line names. Tests count only where they pass without
 * the patch: "tests fail" where they do not. Exit status 1 where a mutant is not killed. Without --nearest, the nearest tests
 * run first and everything else after them.
 */
import { parseArgs } from "node:util";
import { fits, readMutants, shareOf } from "./patches.mjs";
import { Tree } from "./tree.mjs";

/** The parts of the suite to run for a mutant, one after the other until one fails. */
function partsFor(mutant, { nearest, tests }) {
  if (nearest) return [mutant.nearest];
  if (tests !== undefined) return [{ kind: "jest", select: [tests] }];
  return [mutant.nearest, { kind: "native", select: [] }, { kind: "jest", select: [] }];
}

function verdictOf(tree, mutant, options) {
  for (const part of partsFor(mutant, options)) {
    if (part.kind === "native" && !mutant.isNative) continue;
    const failing = tree.failsUnpatched(part);
    if (failing) return { verdict: "tests fail", by: failing };
    if (!tree.apply(mutant.path)) return { verdict: "does not apply" };
    try {
      const { built, failed } = tree.test(part, mutant.isNative);
      if (!built) return { verdict: "does not build", by: failed };
      if (failed) return { verdict: "killed", by: failed };
    } finally {
      tree.restore(mutant.path);
    }
  }
  return { verdict: "survived" };
}

const { values: options } = parseArgs({
  options: {
    only: { type: "string", multiple: true, default: [] },
    shard: { type: "string" },
    nearest: { type: "boolean", default: false },
    tests: { type: "string" },
    list: { type: "boolean", default: false },
  },
});

function chosenOf(all, { only, shard }) {
  const unknown = only.filter((pattern) => !all.some(({ name }) => fits(name, pattern)));
  if (unknown.length > 0) throw new Error(`There is no mutant ${unknown.join(", ")}; --list names them`);
  const named = only.length > 0 ? all.filter(({ name }) => only.some((pattern) => fits(name, pattern))) : all;
  return shard === undefined ? named : shareOf(named, shard);
}

function list(mutants) {
  for (const { name, what } of mutants) console.log(`${name.padEnd(32)} ${what}`);
  return 0;
}

/** @returns the exit status */
function tryAll(tree, mutants) {
  console.log(`commit ${tree.commit}`);
  if (mutants.every(({ isNative }) => !isNative)) tree.borrowAddon();
  let killed = 0;
  for (const mutant of mutants) {
    const start = performance.now();
    const { verdict, by = "" } = verdictOf(tree, mutant, options);
    if (verdict === "killed") killed++;
    const seconds = ((performance.now() - start) / 1e3).toFixed(0);
    console.log(`${mutant.name.padEnd(32)} ${verdict.padEnd(15)} ${seconds.padStart(4)} s  ${by}`);
  }
  console.log(`${killed} of ${mutants.length} killed`);
  return killed === mutants.length ? 0 : 1;
}

const tree = new Tree();
try {
  const chosen = chosenOf(readMutants(tree.patches), options);
  process.exitCode = options.list ? list(chosen) : tryAll(tree, chosen);
} catch (error) {
  console.error(error.message);
  process.exitCode = 2;
} finally {
  tree.remove();
}
