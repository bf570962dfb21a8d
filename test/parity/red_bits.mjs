#!/usr/bin/env node
/**
 * SHA-256 of RED's vectors after ten optimizer steps, one for each CPU path, dtype, variant and set of sites:
 *
 *   node test/parity/red_bits.mjs              # the hashes of the path that is in force, as JSON
 *   node test/parity/red_bits.mjs --write      # replaces this machine's paths in red_bits.json
 *
 * A path computes the same bits on every machine and with any number of threads. A change that is not meant to change the
 * numerics leaves the file as it is; one that is meant to writes it again and says so in CHANGELOG.md.
 */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const script = fileURLToPath(import.meta.url);
const here = dirname(script);
const require = createRequire(script);
require("../runtime/typescript.cjs");
const { redVariants } = require("../../lib/adapter/config.ts");
const { RedAdapter } = require("../../lib/adapter/red_adapter.ts");
const { native } = require("../../lib/native.ts");
const { Trainer } = require("../../lib/train/trainer.ts");
const { examplesOf, expectedOf, loadFixture } = require("./fixtures.ts");

const stored = join(here, "red_bits.json");
/** Folder of the fixture for each dtype. */
const fixtures = { float32: "gqa", bfloat16: "gqa_bf16" };
const steps = 10;
const outer = ["ffn", "attention", "q", "k", "v"];
const inner = ["gate", "up"];
/** Sites of each run; the names are those in the stored file. Sites that come later get a name of their own. */
const siteSets = {
  outer: [...outer.map((site) => [site]), outer],
  inner: [...inner.map((site) => [site]), [...outer, ...inner]],
};

/** The vectors' hash after ten steps at each of these sets of sites. */
async function bitsOf(model, train, variant, sets) {
  const hash = createHash("sha256");
  for (const sites of sets) {
    const adapter = RedAdapter.create(model, { variant, sites });
    const options = {
      maxSteps: steps,
      batchSize: 2,
      gradientAccumulationSteps: 2,
      learningRate: 0.02,
      weightDecay: 0.01,
    };
    for await (const _ of new Trainer({ model, adapter, train, warmupSteps: 2, ...options }).run());
    for (const [name, values] of adapter.vectors()) hash.update(name).update(new Uint8Array(values.buffer));
    adapter.dispose();
  }
  return hash.digest("hex");
}

/** "dtype variant sites" -> hash, by the path in force. */
async function hashes() {
  const found = {};
  for (const [dtype, fixture] of Object.entries(fixtures)) {
    const model = await loadFixture(fixture, { dtype, device: "cpu" });
    const train = expectedOf(fixture).training.batches.flatMap((step) => step.flatMap(examplesOf));
    for (const [name, sets] of Object.entries(siteSets))
      for (const variant of redVariants)
        found[`${dtype} ${variant} ${name}`] = await bitsOf(model, train, variant, sets);
    model.dispose();
  }
  return found;
}

/** The same in a process of its own, on a path of this machine. */
function hashesOn(path) {
  const env = { ...process.env, RUBRICATE_CPU_PATH: path };
  return JSON.parse(execFileSync(process.execPath, [script], { env, encoding: "utf8" })).hashes;
}

if (process.argv.includes("--write")) {
  const all = JSON.parse(readFileSync(stored, "utf8"));
  for (const path of native().cpu().supported) all[path] = hashesOn(path);
  writeFileSync(stored, `${JSON.stringify(all, null, 2)}\n`);
} else process.stdout.write(`${JSON.stringify({ path: native().cpu().path, hashes: await hashes() })}\n`);
