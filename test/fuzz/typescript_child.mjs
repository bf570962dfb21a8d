/** Runs executions of one target of typescript.mjs, in a process that any of them may end. */
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { Random } from "./mutations.mjs";
import { rubricate } from "./package.mjs";
import { targets } from "./typescript_targets.mjs";

const [target, seed, from, home, once] = process.argv.slice(2);
const { prepare, run } = targets[target];
const stallMs = 1000;
/** Memory of a loaded model and of garbage; ten times the input's bytes are added. */
const spareBytes = 256 * 2 ** 20;
const messageLength = 5000;

const findings = new Set();
/** Messages without numbers, so that one bug is one finding. */
const note = (where, error) =>
  findings.add(
    `${where}: ${error?.name ?? typeof error} ${String(error?.message ?? error)
      .replace(/\d+/g, "N")
      .slice(0, 200)}`,
  );
process.on("unhandledRejection", (error) => note("unhandled rejection", error));
process.on("uncaughtException", (error) => note("uncaught exception", error));

/** Runs work that must succeed or throw a RubricateError. @returns its value, or undefined if it failed */
async function attempt(work) {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof rubricate.RubricateError) || error.code === "ERR_INTERNAL") note("error", error);
    else if (error.message.length > messageLength) note("long message", `of ${error.code}`);
    if (process.env.SHOW) console.log(error);
    return undefined;
  }
}

function bytesIn(folder) {
  let bytes = 0;
  for (const name of readdirSync(folder, { recursive: true })) bytes += statSync(join(folder, name)).size;
  return bytes;
}

const delay = monitorEventLoopDelay({ resolution: 10 });
const made = (await prepare?.(home)) ?? {};
const before = process.memoryUsage.rss();
for (let at = Number(from); ; at++) {
  findings.clear();
  process.send({ start: at });
  delay.reset();
  delay.enable();
  const cpu = process.cpuUsage();
  try {
    await run(new Random(Math.imul(Number(seed), 1_000_003) + at), home, attempt, made);
  } catch (error) {
    note("harness", error);
  }
  await new Promise((resolve) => setTimeout(resolve, at % 8 === 0 ? 15 : 0)); // the histogram's timer must run
  const used = process.cpuUsage(cpu);
  // On a busy machine other processes cause stalls too; this process can only cause stalls as long as its own processor
  // time.
  const stall = Math.min(delay.max / 1e6, (used.user + used.system) / 1e3);
  if (stall > stallMs) note("the event loop stalled for more than", `${stallMs / 1000} s`);
  const grown = process.memoryUsage.rss() - before;
  if (grown > spareBytes + 10 * bytesIn(home)) note("memory grew beyond", "ten times the input");
  if (Object.keys(Object.prototype).length > 0) note("prototype", "polluted");
  process.send({ findings: findings.size > 0 ? [...findings] : undefined, stall });
  if (once) break;
}
