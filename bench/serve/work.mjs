/** What javascript.mjs, mixing.mjs, prompt.mjs and training.mjs share: options, a model, adapters that differ, prompts, a comparison of tokens. */
import { join } from "node:path";
import { withTemporaryFolder } from "../js/folder.mjs";
import { rubricate } from "../js/package.mjs";
import { writeRandomModel } from "../js/random_model.mjs";
import { shapes } from "../js/shapes.mjs";

const { LanguageModel, RedAdapter } = rubricate;

/** Ends the process with a message that names the option. */
function refuse(name, expected, text) {
  console.error(`Expected ${expected} for --${name} but received ${text}`);
  process.exit(2);
}

/** An option's comma-separated numbers above 0. @returns {number[]} */
export function numbersOf(name, text) {
  const numbers = text.split(",").map(Number);
  if (!numbers.every((number) => number > 0 && number < Number.POSITIVE_INFINITY))
    refuse(name, "numbers above 0, comma-separated,", text);
  return numbers;
}

/** An option's comma-separated whole numbers. @returns {number[]} */
export function countsOf(name, text, least = 1) {
  const counts = text.split(",").map(Number);
  if (text.trim() === "" || !counts.every((count) => Number.isInteger(count) && count >= least))
    refuse(name, `whole numbers from ${least} on, comma-separated,`, text);
  return counts;
}

/** An option that is one whole number. */
export function countOf(name, text, least = 1) {
  const counts = countsOf(name, text, least);
  if (counts.length !== 1) refuse(name, "one number", text);
  return counts[0];
}

/** The shape that an option names. @param {number} [context] positions at least */
export function shapeOf(name, context = 0) {
  const shape = shapes[name];
  if (!shape) refuse("shape", `one of ${Object.keys(shapes).join(", ")}`, name);
  return { ...shape, max_position_embeddings: Math.max(shape.max_position_embeddings, context) };
}

/** Writes a random model, and removes it after the work with its folder. */
export function withModelFolder(shape, dtype, work) {
  return withTemporaryFolder((temporary) => {
    const folder = join(temporary, "model");
    writeRandomModel(folder, shape, { dtype });
    return work(folder);
  });
}

/** Writes a random model, opens it, and frees both after the work. */
export function withModel(shape, dtype, work) {
  return withModelFolder(shape, dtype, async (folder) => {
    const model = await LanguageModel.fromPretrained(folder, { device: "cpu" });
    try {
      return await work(model);
    } finally {
      model.dispose();
    }
  });
}

/** A number in [-0.5, 0.5), the same for the same arguments. */
function noise(at, seed) {
  let bits = Math.imul(at + 1, 0x9e3779b1) ^ Math.imul(seed + 1, 0x85ebca6b);
  bits = Math.imul(bits ^ (bits >>> 15), 0x2c1b3c6d);
  return ((bits ^ (bits >>> 13)) >>> 0) / 2 ** 32 - 0.5;
}

/** Sets the adapters a0, a1, ... of an engine from number `from` on; no two are equal, and none is the identity. */
export async function setAdapters(engine, model, to, from = 0) {
  const adapter = RedAdapter.create(model);
  const identity = adapter.vectors();
  const vectors = new Map([...identity].map(([name, values]) => [name, values.slice()]));
  for (let seed = from; seed < to; seed++) {
    let place = 0;
    for (const [name, values] of vectors) {
      const start = identity.get(name);
      for (let at = 0; at < values.length; at++) values[at] = start[at] + 0.1 * noise(place++, seed);
    }
    adapter.setVectors(vectors);
    await engine.adapters.set(`a${seed}`, adapter);
  }
  adapter.dispose();
}

/** Token ids of a prompt; those of different seeds begin differently, so that none can take over another's keys and values. */
export function promptOf(seed, length, vocabulary) {
  const places = vocabulary - 3;
  return Int32Array.from({ length }, (_, at) => 3 + ((7919 * at + 104729 * seed + ((at * seed) % 97)) % places));
}

/** Whether two lists are equal as far as both go. */
export function agree(some, others) {
  const length = Math.min(some.length, others.length);
  for (let at = 0; at < length; at++) if (some[at] !== others[at]) return false;
  return true;
}

/** A ratio with its interval, as a text. */
export const shownRatio = ({ ratio, interval }) =>
  `${ratio.toFixed(3)} [${interval.map((value) => value.toFixed(3)).join(", ")}]`;
