#!/usr/bin/env node
/**
 * Sets one name of an Engine again and again while 16 streams run back to back:
 *
 *   node test/runtime/engine_sets.mjs [COUNT = 10000]
 *
 * Before each set none to two answers are awaited. Version k has a bias behind the last layer by which one token, that of k, wins
 * at each place of an answer, and scales of its own. So an answer shows its version, which must be the one that its result names;
 * no call may fail. Afterwards each version that answered is computed alone: log-probabilities must be equal bit for bit. From
 * 5,000 sets on, resident memory must not grow after the first tenth (by more than 1 %).
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { rubricate } from "../../bench/js/package.mjs";
import { shapes } from "../../bench/js/shapes.mjs";
import {
  countOf,
  Difference,
  everyPageBack,
  exitWith,
  randomFrom,
  requireFlat,
  residentBytes,
  restartForMemory,
  vocabulary,
  withRandomModel,
} from "./engine_runs.mjs";

const { Engine, RedAdapter } = rubricate;
const streams = 16;
const answerTokens = 6;
const request = { tokenIds: [100, 200, 300], maxNewTokens: answerTokens, logProbabilities: true };
const hidden = shapes.tiny.hidden_size;

/** Rows of the head for which the token of the row is the likeliest when the last hidden state points their way. */
function winners(folder) {
  const file = readFileSync(join(folder, "model.safetensors"));
  const headerBytes = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString("utf8", 8, 8 + headerBytes));
  const [from, to] = header["lm_head.weight"].data_offsets.map((offset) => 8 + headerBytes + offset);
  const head = new Float32Array(file.buffer.slice(file.byteOffset + from, file.byteOffset + to));
  const row = (id) => head.subarray(id * hidden, (id + 1) * hidden);
  const dot = (a, b) => a.reduce((sum, value, at) => sum + value * b[at], 0);
  const wins = (id) => {
    const own = dot(row(id), row(id));
    for (let other = 0; other < vocabulary; other++)
      if (other !== id && dot(row(other), row(id)) > 0.8 * own) return false;
    return true;
  };
  const found = [];
  for (let id = 100; id < vocabulary && found.length < 97; id++) if (wins(id)) found.push({ id, row: row(id) });
  return found;
}

/** Gives an adapter the vectors of version k. */
function become(adapter, tokens, k) {
  const { row } = tokens[k % tokens.length];
  const last = `layers.${shapes.tiny.num_hidden_layers - 1}.`;
  const changed = [...adapter.vectors()].map(([name, values]) => {
    if (name.startsWith(last) && name.endsWith("bias")) return [name, row.map((value) => value * 1000)];
    return [name, name.endsWith("scale") ? values.fill(1 + (k % 9973) / 10000) : values];
  });
  adapter.setVectors(new Map(changed));
}

/** Log-probabilities of the first answer of each version; NaN: it has none. Of a fixed size, so that memory stays as it is. */
class Seen {
  constructor(count) {
    this.numbers = new Float32Array((count + 1) * answerTokens).fill(Number.NaN);
    this.answers = 0;
  }

  of(version) {
    return this.numbers.subarray(version * answerTokens, (version + 1) * answerTokens);
  }

  put(answer, tokens) {
    const { version } = answer.adapter;
    const wanted = tokens[version % tokens.length].id;
    if (answer.tokenIds.length !== answerTokens || answer.tokenIds.some((id) => id !== wanted))
      throw new Difference(`an answer of version ${version}: tokens ${answer.tokenIds} instead of ${wanted} alone`);
    const known = this.of(version);
    const numbers = answer.logProbabilities.map(({ logProbability }) => logProbability);
    if (Number.isNaN(known[0])) known.set(numbers);
    requireSame(numbers, known, version, "another answer of it");
    this.answers++;
  }
}

function requireSame(numbers, expected, version, of) {
  const at = numbers.findIndex((number, at) => !Object.is(number, expected[at]));
  if (at < 0) return;
  throw new Difference(
    `an answer of version ${version}: log-probability ${at} is ${numbers[at]} instead of ${expected[at]} as in ${of}`,
  );
}

/** Sets versions `from` to `to` while the streams run. */
async function setBesideStreams(engine, adapter, tokens, seen, from, to) {
  const random = randomFrom(from);
  let over = false;
  const stream = async () => {
    while (!over) seen.put(await engine.complete({ ...request, adapter: "a" }), tokens);
  };
  const running = Array.from({ length: streams }, stream);
  const failed = Promise.all(running); // a difference ends the run at once
  const sets = (async () => {
    for (let k = from; k <= to; k++) {
      const answers = seen.answers + random(3);
      while (seen.answers < answers && !over) await new Promise((resolve) => setImmediate(resolve));
      become(adapter, tokens, k);
      const { version } = await engine.adapters.set("a", adapter);
      if (version !== k) throw new Difference(`set ${k} became version ${version}`);
    }
  })();
  try {
    await Promise.race([sets, failed]);
  } finally {
    over = true;
  }
  await failed;
  await everyPageBack(engine);
}

async function compareAlone(model, tokens, seen, count) {
  const adapter = RedAdapter.create(model);
  let versions = 0;
  for (let k = 1; k <= count; k++) {
    if (Number.isNaN(seen.of(k)[0])) continue;
    become(adapter, tokens, k);
    const { logProbabilities } = await model.complete({ ...request, adapter });
    requireSame(
      [...seen.of(k)],
      logProbabilities.map(({ logProbability }) => logProbability),
      k,
      "the version alone",
    );
    versions++;
  }
  return versions;
}

async function main() {
  const count = countOf(process.argv[2] ?? "10000");
  await withRandomModel("tiny", {}, async (load, folder) => {
    const tokens = winners(folder);
    const model = await load();
    const adapter = RedAdapter.create(model);
    const engine = new Engine({ model });
    const seen = new Seen(count);
    become(adapter, tokens, 1);
    await engine.adapters.set("a", adapter);
    const resident = [];
    for (let tenth = 0; tenth < 10; tenth++) {
      const [from, to] = [tenth, tenth + 1].map((tenths) => Math.floor((tenths * count) / 10));
      await setBesideStreams(engine, adapter, tokens, seen, Math.max(2, from + 1), to);
      resident.push(await residentBytes());
    }
    const { adapterBytes } = engine.stats();
    await engine.close();
    console.log(`${count} sets, ${seen.answers} answers; ${adapterBytes} bytes of versions`);
    const versions = await compareAlone(await load(), tokens, seen, count);
    if (versions < 2) throw new Difference(`Expected answers of several versions but ${versions} answered`);
    requireFlat(resident, count >= 5000);
    console.log(`each answer is of the version that it names: ${versions} versions, as each of them alone`);
  });
}

restartForMemory();
await exitWith(main);
