/**
 * How long clients wait for a token while others generate: in process (15m) and over node:http (110m).
 *
 *     node bench/starvation.mjs [--clients 8] [--seconds 20] [--filter process|http] [--out FILE.json]
 *
 * Each client generates repeatedly from its own prompt. A wait is the time between two tokens of one client, or from its
 * request to its first token; the ratio of the longest to the median must be at most 20. The token ids are compared with
 * those that each client gets alone. The exit status is 1 if they differ or a ratio is too high. Weights are random.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { createServer, request } from "node:http";
import { dirname, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { withTemporaryFolder } from "./js/folder.mjs";
import { describeRun, machineLine } from "./js/machine.mjs";
import { rubricate } from "./js/package.mjs";
import { writeRandomModel } from "./js/random_model.mjs";
import { shapes } from "./js/shapes.mjs";

const { LanguageModel } = rubricate;
const highestRatio = 20;
const newTokens = 32;

const { values } = parseArgs({
  options: {
    clients: { type: "string", default: "8" },
    seconds: { type: "string", default: "20" },
    filter: { type: "string", default: "" },
    out: { type: "string" },
  },
});
const clients = Number(values.clients);
const seconds = Number(values.seconds);

/** A client's prompt; their lengths differ. */
const promptOf = (client) => Array.from({ length: 4 + 3 * client }, (_, i) => (7 * i + 13 * client + 3) % 32000);

/** Token ids from the model in this process. */
async function* inProcess(model, tokenIds) {
  for await (const { tokenId } of model.generate({ tokenIds, maxNewTokens: newTokens })) yield tokenId;
}

/** A server that answers a client's request with one token id per line. */
async function serve(model) {
  const server = createServer(async (incoming, response) => {
    const client = Number(incoming.url.slice(1));
    for await (const id of inProcess(model, promptOf(client))) response.write(`${id}\n`);
    response.end();
  });
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  return server;
}

/** Token ids from the server. */
async function* overHttp(server, client) {
  const { port } = server.address();
  const response = await new Promise((resolve, reject) => {
    request({ host: "127.0.0.1", port, path: `/${client}` }, resolve)
      .on("error", reject)
      .end();
  });
  let rest = "";
  for await (const chunk of response.setEncoding("utf8")) {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop();
    for (const line of lines) yield Number(line);
  }
}

async function collect(tokens, onToken = () => {}) {
  const ids = [];
  for await (const id of tokens) {
    onToken();
    ids.push(id);
  }
  return ids.join();
}

/** Runs all clients for `seconds`: every wait in milliseconds, and the number of answers that differ from `alone`. */
async function load(tokensFor, alone) {
  const waits = [];
  let wrong = 0;
  const end = performance.now() + seconds * 1e3;
  const run = async (client) => {
    while (performance.now() < end) {
      let last = performance.now();
      const ids = await collect(tokensFor(client), () => {
        const now = performance.now();
        waits.push(now - last);
        last = now;
      });
      if (ids !== alone[client]) wrong++;
    }
  };
  await Promise.all(Array.from({ length: clients }, (_, client) => run(client)));
  return { waits: waits.sort((a, b) => a - b), wrong };
}

async function measure(name, shape, tokensFor) {
  const alone = [];
  for (let client = 0; client < clients; client++) alone.push(await collect(tokensFor(client)));
  const { waits, wrong } = await load(tokensFor, alone);
  const median = waits[waits.length >> 1];
  const longest = waits.at(-1);
  const found = { name, shape, clients, tokens: waits.length, median, longest, ratio: longest / median, wrong };
  const ms = (value) => `${value.toFixed(2)} ms`;
  console.log(
    `${name.padEnd(8)} ${shape.padEnd(5)} ${clients} clients  ${waits.length} tokens  median ${ms(median)}  ` +
      `longest ${ms(longest)}  ratio ${found.ratio.toFixed(1)}  wrong answers ${wrong}`,
  );
  return found;
}

async function withModel(shape, work) {
  return withTemporaryFolder(async (folder) => {
    const path = join(folder, "model");
    writeRandomModel(path, shapes[shape]);
    const model = await LanguageModel.fromPretrained(path, { device: "cpu" });
    try {
      return await work(model);
    } finally {
      model.dispose();
    }
  });
}

const cases = {
  process: () => withModel("15m", (model) => measure("process", "15m", (client) => inProcess(model, promptOf(client)))),
  http: () =>
    withModel("110m", async (model) => {
      const server = await serve(model);
      try {
        return await measure("http", "110m", (client) => overHttp(server, client));
      } finally {
        server.close();
      }
    }),
};

const head = describeRun();
console.log(machineLine(head));
const results = [];
for (const [name, run] of Object.entries(cases)) if (name.includes(values.filter)) results.push(await run());
if (results.some(({ ratio, wrong }) => wrong > 0 || ratio > highestRatio)) process.exitCode = 1;
if (values.out !== undefined) {
  mkdirSync(dirname(resolve(values.out)), { recursive: true });
  writeFileSync(values.out, `${JSON.stringify({ ...head, seconds, results }, null, 2)}\n`);
}
