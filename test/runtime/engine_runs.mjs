/** What the long runs of an engine share: a model with random weights, random numbers, adapters, comparisons, memory. */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { withTemporaryFolder } from "../../bench/js/folder.mjs";
import { rubricate } from "../../bench/js/package.mjs";
import { writeRandomModel } from "../../bench/js/random_model.mjs";
import { shapes } from "../../bench/js/shapes.mjs";

const { embeddedModelDir, LanguageModel, RedAdapter } = rubricate;

/** Of the package's tokenizer, which the models have. */
export const vocabulary = 2048;

/** Park and Miller's generator, for reproducible runs. @returns {(most: number) => number} an integer from 0 to most - 1 */
export function randomFrom(seed) {
  let state = (seed % 2147483646) + 1;
  return (most) => {
    state = (state * 48271) % 2147483647;
    return Math.floor((state / 2147483647) * most);
  };
}

/** @returns {number} the argument, a positive integer */
export function countOf(text, name = "COUNT") {
  const count = Number(text);
  if (Number.isSafeInteger(count) && count > 0) return count;
  console.error(`Expected a positive integer for ${name} but received ${text}`);
  return process.exit(2);
}

/**
 * Does something with a model of random weights and the package's tokenizer.
 * @param {string} shape of bench/js/shapes.mjs; its vocabulary is that of the tokenizer, so that every token has a text
 * @param {object} config more fields of config.json
 * @param {(load: () => Promise<object>, folder: string) => Promise<unknown>} work each call of `load` gives another object
 */
export async function withRandomModel(shape, config, work) {
  if (!shapes[shape]) {
    console.error(`Expected a SHAPE among ${Object.keys(shapes).join(", ")} but received ${shape}`);
    process.exit(2);
  }
  return withTemporaryFolder(async (temporary) => {
    const folder = join(temporary, "model");
    // A head of its own: with a tied one, random weights answer every token with itself.
    const full = { ...shapes[shape], vocab_size: vocabulary, tie_word_embeddings: false, ...config };
    writeRandomModel(folder, full, { tokenizer: embeddedModelDir() });
    const loaded = [];
    const load = async () => {
      const model = await LanguageModel.fromPretrained(folder, { device: "cpu" });
      loaded.push(model);
      return model;
    };
    try {
      return await work(load, folder);
    } finally {
      for (const model of loaded) model.dispose();
    }
  });
}

/** An adapter whose answers differ from those of another number; equal numbers give equal vectors. */
export function adapterOf(model, number) {
  const adapter = RedAdapter.create(model);
  const random = randomFrom(number);
  const change = () => (random(2001) - 1000) / 2500;
  adapter.setVectors(new Map([...adapter.vectors()].map(([name, values]) => [name, values.map((v) => v + change())])));
  return adapter;
}

/** Where two values differ first, as "PATH: ... instead of ..."; undefined if they are equal to the last bit. */
export function firstDifference(found, expected, path = "answer") {
  if (Object.is(found, expected)) return undefined;
  const bothObjects = typeof found === "object" && typeof expected === "object" && found && expected;
  if (!bothObjects) return `${path}: ${JSON.stringify(found)} instead of ${JSON.stringify(expected)}`;
  for (const key of new Set([...Object.keys(found), ...Object.keys(expected)])) {
    const difference = firstDifference(found[key], expected[key], `${path}.${key}`);
    if (difference) return difference;
  }
  return undefined;
}

/** Resolves once something holds. @throws if it does not within a minute */
export async function until(holds, what) {
  const end = performance.now() + 60_000;
  while (!holds()) {
    if (performance.now() > end) throw new Error(`Expected within a minute: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Waits until an engine has no requests, and all its pages are free or can be found again. */
export async function everyPageBack(engine) {
  const back = ({ requests, running, waiting, pages, freePages, cachedPages }) =>
    requests + running + waiting === 0 && freePages + cachedPages === pages;
  await until(() => back(engine.stats()), "no requests, and every page back").catch((error) => {
    throw new Error(`${error.message}, but the engine has ${JSON.stringify(engine.stats())}`);
  });
}

/**
 * Runs this script again, and ends this process as that one ends, unless this is that one: with a gc function, and with settings by
 * which resident memory is steady. V8's young generation is small, or its pages take thousands of requests to be touched;
 * malloc has one arena, or that of each thread grows in its own time.
 */
export function restartForMemory() {
  if (globalThis.gc) return;
  const flags = ["--expose-gc", "--max-semi-space-size=1"];
  const env = { ...process.env, MALLOC_ARENA_MAX: "1" };
  const { status } = spawnSync(process.execPath, [...flags, ...process.argv.slice(1)], { stdio: "inherit", env });
  process.exit(status ?? 1);
}

/** Bytes of this process's resident memory once garbage was collected. */
export async function residentBytes() {
  for (let round = 0; round < 4; round++) {
    globalThis.gc();
    await new Promise((resolve) => setTimeout(resolve, 20)); // finalizers run between tasks
  }
  return process.memoryUsage.rss();
}

/**
 * Checks that resident memory does not grow once the first tenth of a run is over: the median of the last three measures is at
 * most 1 % above that of the second to the fourth. A single measure moves by as much as 1 % in either direction.
 * @param {number[]} resident bytes after each tenth
 * @param {boolean} required false for a short run, which is no steady state: then the growth is only printed
 */
export function requireFlat(resident, required) {
  const median = (list) => [...list].sort((a, b) => a - b)[1];
  const [early, late] = [median(resident.slice(1, 4)), median(resident.slice(-3))];
  const share = (from, to) => `${((100 * to) / from - 100).toFixed(2)} %`;
  console.log(
    `resident memory after each tenth, in MiB: ${resident.map((bytes) => (bytes / 2 ** 20).toFixed(2)).join(", ")}\n` +
      `from the first to the last: ${share(resident[0], resident.at(-1))}; of the medians: ${share(early, late)}`,
  );
  if (required && late > 1.01 * early)
    throw new Difference(`Expected growth of at most 1 % but found ${share(early, late)}`);
}

/** Runs a script's work: what it throws is printed, and the exit status is then 1. */
export async function exitWith(work) {
  try {
    await work();
    process.exit(0);
  } catch (error) {
    console.error(error instanceof Error && error.name !== "Difference" ? error.stack : error.message);
    process.exit(1);
  }
}

/** The first difference of a run. */
export class Difference extends Error {
  name = "Difference";
}
