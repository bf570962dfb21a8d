/**
 * One training step on a checkpoint of LLaMA-2-7B's shape, all layers edited: its time and memory, cold and warm.
 *
 *     node bench/seven_b.mjs FOLDER [--shape 7b] [--shards 3] [--tokens 128] [--cold-only] [--out FILE.json]
 *
 * Writes the checkpoint (bf16, random weights; 13.5 GB for 7b) if the folder has none. Each step runs in its own process:
 * first without the files in the page cache, then with them cached. Prints JSON: time to open, time of the step (forward,
 * backward, clipping, AdamW), loss, the smallest gradient norm of a layer and of a vector, the peak of resident memory
 * (VmHWM; mapped weights count) and of anonymous memory (RssAnon, sampled every 10 ms). The loss of the same tokens in
 * PyTorch: bench/oracle/seven_b.py --model FOLDER.
 */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { describeRun } from "./js/machine.mjs";
import { writeRandomModel } from "./js/random_model.mjs";
import { shapes } from "./js/shapes.mjs";

const step = join(dirname(fileURLToPath(import.meta.url)), "js", "seven_b_step.mjs");

/** Removes a folder's weights from the page cache. @returns how, or why not */
function evict(folder) {
  execFileSync("sync");
  try {
    writeFileSync("/proc/sys/vm/drop_caches", "3\n");
    return "drop_caches";
  } catch {
    // Not root, or another system: request it for each file.
  }
  try {
    for (const name of readdirSync(folder).filter((file) => file.endsWith(".safetensors")))
      execFileSync("dd", [`if=${join(folder, name)}`, "iflag=nocache", "count=0", "status=none"]); // POSIX_FADV_DONTNEED
    return "fadvise";
  } catch (error) {
    return `not evicted: ${error.message}`;
  }
}

function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      shape: { type: "string", default: "7b" },
      shards: { type: "string", default: "3" },
      tokens: { type: "string", default: "128" },
      "cold-only": { type: "boolean", default: false },
      out: { type: "string" },
    },
  });
  const { shape, shards, tokens, out } = values;
  if (positionals.length !== 1 || !shapes[shape]) {
    console.error(
      "usage: node bench/seven_b.mjs FOLDER [--shape 7b] [--shards 3] [--tokens 128] [--cold-only] [--out FILE]",
    );
    process.exit(2);
  }
  const folder = resolve(positionals[0]);
  const result = { ...describeRun(), shape };
  if (!existsSync(join(folder, "config.json"))) {
    const start = performance.now();
    const bytes = writeRandomModel(folder, shapes[shape], { dtype: "bfloat16", shards: Number(shards) });
    result.written = { bytes, seconds: (performance.now() - start) / 1e3 };
    console.error(`wrote ${(bytes / 1e9).toFixed(2)} GB in ${result.written.seconds.toFixed(1)} s`);
  }
  const run = () =>
    JSON.parse(execFileSync(process.execPath, [step, folder, tokens], { stdio: ["ignore", "pipe", "inherit"] }));
  result.cache = evict(folder);
  result.cold = run();
  if (!values["cold-only"]) result.warm = run();
  console.log(JSON.stringify(result, null, 2));
  if (out === undefined) return;
  mkdirSync(dirname(resolve(out)), { recursive: true });
  writeFileSync(out, `${JSON.stringify(result, null, 2)}\n`);
}

main();
