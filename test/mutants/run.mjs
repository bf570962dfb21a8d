/**
 * Shows that the tests notice plausible bugs: applies each patch of this folder to a copy of the last commit, builds, and
 * runs the parts of `npm test` until one fails.
 *
 *     node test/mutants/run.mjs [--only NAME]... [--nearest] [--tests PATTERN] [--list]
 *
 * --only     the mutants of that name; may be given several times
 * --nearest  runs only the tests that the patch names as nearest; a mutant that they miss counts as survived
 * --tests    runs only Jest's test files whose path matches, instead of everything
 * --list     says which mutants there are
 *
 * A patch begins with a line that says what is wrong, and one that names the nearest tests:
 *     Nearest: native adamw_test[,...]        C++ test files
 *     Nearest: jest test/unit/schedule.test.ts
 * Tests count only where they pass without the patch. Exit status 1 where a mutant survives, does not apply or does not
 * build. Without --nearest, the nearest tests run first and everything else after them.
 */
import { parseArgs } from "node:util";
import { readMutants } from "./patches.mjs";
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
    tree.requireGood(part);
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
    nearest: { type: "boolean", default: false },
    tests: { type: "string" },
    list: { type: "boolean", default: false },
  },
});
const all = readMutants();
const unknown = options.only.filter((name) => !all.some((mutant) => mutant.name === name));
if (unknown.length > 0) {
  console.error(`There is no mutant ${unknown.join(", ")}; --list names them.`);
  process.exit(2);
}
const chosen = options.only.length > 0 ? all.filter(({ name }) => options.only.includes(name)) : all;
if (options.list) {
  for (const { name, what } of chosen) console.log(`${name.padEnd(32)} ${what}`);
  process.exit(0);
}

const tree = new Tree(chosen.every(({ isNative }) => !isNative));
const results = [];
try {
  for (const mutant of chosen) {
    const start = performance.now();
    const { verdict, by = "" } = verdictOf(tree, mutant, options);
    results.push(verdict);
    const seconds = ((performance.now() - start) / 1e3).toFixed(0);
    console.log(`${mutant.name.padEnd(32)} ${verdict.padEnd(15)} ${seconds.padStart(4)} s  ${by}`);
  }
} finally {
  tree.remove();
}
const killed = results.filter((verdict) => verdict === "killed").length;
console.log(`${killed} of ${results.length} killed`);
process.exitCode = killed === results.length ? 0 : 1;
