#!/usr/bin/env node
/**
 * Short requests that end in every way, and the memory that they leave:
 *
 *   node test/runtime/engine_memory.mjs [COUNT = 100000] [seed]
 *
 * Ends: the text's own, a stop string, a full queue, a deadline, a cache that is too small, a loop that is left, a generator
 * that is left half-way and collected, a signal in each phase, an unknown adapter. Each must give its error code and no other. At
 * the end every page must be back, and from 20,000 requests on resident memory must not grow after the first tenth (by more
 * than 1 %).
 */
import assert from "node:assert/strict";
import { rubricate } from "../../bench/js/package.mjs";
import {
  adapterOf,
  countOf,
  everyPageBack,
  exitWith,
  randomFrom,
  requireFlat,
  residentBytes,
  restartForMemory,
  withRandomModel,
} from "./engine_runs.mjs";

const { Engine } = rubricate;
const pages = 6;
/** Tokens of an answer that takes much longer than the deadlines here, and fits with any prompt. */
const long = 200;
/** Requests under way at the same time; the engine takes fewer. */
const clients = 24;
const taken = { maxSequences: 8, maxQueue: 12 };

const turns = async (count) => {
  for (let at = 0; at < count; at++) await new Promise((resolve) => setImmediate(resolve));
};

/** How a call ends: a finish reason, "left", or an error's code. */
async function endOf(call) {
  try {
    return (await call)?.finishReason ?? "left";
  } catch (error) {
    if (typeof error.code !== "string") throw error;
    return error.code;
  }
}

/** Reads some pieces, and does something then. */
async function afterPieces(pieces, count, act) {
  for (let at = 0; at < count; at++) {
    const { done, value } = await pieces.next();
    if (done) return value;
  }
  return act(pieces);
}

const withSignal = (start) => {
  const controller = new AbortController();
  return start(controller.signal, () => controller.abort());
};

/** Of an answer that nothing ends early: its last token, or the tokenizer's end token, which random weights may give. */
const own = ["length", "stop"];

/** Ways to end a request, with the ends that each may have besides ERR_QUEUE_FULL; the first must occur. */
const ways = {
  length: { ends: own, run: ({ engine, options }) => engine.complete(options) },
  base: {
    ends: own,
    run: ({ model, options }) => model.complete({ ...options, tenant: undefined, adapter: null }),
  },
  score: {
    ends: ["left"],
    run: ({ engine, options: { maxNewTokens: _, ...options } }) => engine.score({ ...options, continuation: [5, 6] }),
  },
  stop: {
    ends: ["stop", "length"],
    run: ({ engine, options }) => engine.complete({ ...options, stop: ["a", "e", "i", "t", "s"] }),
  },
  tooLarge: {
    ends: ["ERR_CACHE_FULL"],
    run: ({ engine, options }) => engine.complete({ ...options, maxNewTokens: 500 }),
  },
  unknown: {
    ends: ["ERR_ADAPTER_UNKNOWN"],
    run: ({ engine, options }) => engine.complete({ ...options, adapter: "nobody" }),
  },
  deadline: {
    ends: ["ERR_DEADLINE", ...own],
    run: ({ engine, options, random }) =>
      engine.complete({ ...options, maxNewTokens: long, deadlineMs: 1 + random(4) }),
  },
  lateReader: {
    ends: ["ERR_DEADLINE", "left", ...own],
    run: ({ engine, options }) =>
      afterPieces(engine.generate({ ...options, maxNewTokens: long, deadlineMs: 5 }), 1, async (pieces) => {
        await new Promise((resolve) => setTimeout(resolve, 8));
        for await (const _ of pieces);
      }),
  },
  left: {
    ends: ["left", ...own],
    run: ({ engine, options, random }) =>
      afterPieces(engine.generate(options), random(4), (pieces) => pieces.return().then(() => undefined)),
  },
  collected: {
    ends: ["left", ...own],
    run: ({ engine, options }) => afterPieces(engine.generate({ ...options, maxNewTokens: long }), 1, () => undefined),
  },
  abortedBefore: {
    ends: ["ERR_ABORTED"],
    run: ({ engine, options }) =>
      withSignal((signal, abort) => {
        abort();
        return engine.complete({ ...options, signal });
      }),
  },
  abortedAtStart: {
    ends: ["ERR_ABORTED"],
    run: ({ engine, options }) =>
      withSignal((signal, abort) => {
        const answer = engine.complete({ ...options, signal });
        abort();
        return answer;
      }),
  },
  abortedLater: {
    ends: ["ERR_ABORTED", ...own],
    run: ({ engine, options, random }) =>
      withSignal((signal, abort) => {
        void turns(random(12)).then(abort);
        return engine.complete({ ...options, maxNewTokens: long, signal });
      }),
  },
  abortedBetweenTokens: {
    ends: ["ERR_ABORTED", ...own],
    run: ({ engine, options, random }) =>
      withSignal((signal, abort) =>
        afterPieces(engine.generate({ ...options, signal }), 1 + random(2), (pieces) => {
          abort();
          return pieces.next();
        }),
      ),
  },
};

function optionsOf(random) {
  const tokenIds = Array.from(
    { length: 1 + random(random(8) ? 30 : 140) },
    (_, at) => 100 + ((at * 7 + random(3)) % 500),
  );
  const options = { tokenIds, maxNewTokens: 4, adapter: random(2) ? `a${random(3)}` : null };
  return random(3) ? options : { ...options, tenant: `tenant ${random(1000)}` };
}

/** Runs that many requests. @param {Map<string, number>} ends counts of each way and end */
async function requests(served, random, count, ends) {
  const names = Object.keys(ways);
  let left = count;
  const client = async () => {
    while (left-- > 0) {
      const way = names[random(names.length)];
      const end = await endOf(ways[way].run({ ...served, random, options: optionsOf(random) }));
      const allowed = [...ways[way].ends, "ERR_QUEUE_FULL"];
      assert.ok(allowed.includes(end), `Expected one of ${allowed.join(", ")} for ${way} but it ended with ${end}`);
      // Else nearly all would be refused: who is asks again at once.
      if (end === "ERR_QUEUE_FULL") await new Promise((resolve) => setTimeout(resolve, 3));
      ends.set(`${way} ${end}`, (ends.get(`${way} ${end}`) ?? 0) + 1);
    }
  };
  await Promise.all(Array.from({ length: clients }, client));
}

async function main() {
  const count = countOf(process.argv[2] ?? "100000");
  const seed = process.argv[3] ?? String(Date.now() % 100000);
  console.log(`seed ${seed}`);
  const random = randomFrom(Number(seed));
  await withRandomModel("tiny", {}, async (load) => {
    const model = await load();
    const probe = new Engine({ model });
    const { pageBytes } = probe.stats();
    await probe.close();
    const engine = new Engine({ model, cacheBytes: pages * pageBytes, ...taken });
    for (let at = 0; at < 3; at++) await engine.adapters.set(`a${at}`, adapterOf(model, at));
    const ends = new Map();
    const resident = [];
    for (let tenth = 0; tenth < 10; tenth++) {
      const [from, to] = [tenth, tenth + 1].map((tenths) => Math.floor((tenths * count) / 10));
      await requests({ engine, model }, random, to - from, ends);
      resident.push(await residentBytes()); // collects what was left half-way, too
      await everyPageBack(engine);
    }
    console.log(
      [...ends]
        .sort()
        .map(([name, number]) => `${name}: ${number}`)
        .join("\n"),
    );
    const { steps, generatedTokens, putOut, cachedTokens } = engine.stats();
    console.log(JSON.stringify({ steps, generatedTokens, preemptions: putOut, prefixTokens: cachedTokens }));
    const missing = Object.keys(ways).filter((way) => !ends.has(`${way} ${ways[way].ends[0]}`));
    assert.deepEqual(missing, [], "ways that no request ended in");
    assert.ok(
      [...ends.keys()].some((name) => name.endsWith("ERR_QUEUE_FULL")),
      "no request found the queue full",
    );
    requireFlat(resident, count >= 20_000);
    await engine.close();
    console.log("each request ended in its way, and every page is back");
  });
}

restartForMemory();
await exitWith(main);
