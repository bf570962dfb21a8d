/**
 * Compares all methods on E2E with a small base of bench/bases: `rubricate compare` with one plan.
 *
 *     node bench/compare/e2e.mjs llama|gpt2 --zip e2e-dataset.zip --base DIR --out DIR [--keep FOLDER] [--seeds 5]
 *         [--methods LIST] [--steps 120] [--threads 1]
 *
 * --base: the folder trained/ that bench/bases/make.mjs wrote. OUT gets rows/ and comparison/. The same command goes on where it was
 * stopped; a longer --methods or more --seeds adds runs. --keep copies table.md, chart.svg and results.json.
 */
import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { parseArgs } from "node:util";
import { root } from "../js/package.mjs";
import { writeE2eRows } from "./e2e_rows.mjs";

const everywhere = [
  "red",
  "red:sites=ffn,attention,q,k,v",
  "lora",
  "ia3",
  "bottleneck",
  "norms",
  "melora",
  "sibo",
  "ether",
  "ether+",
  "gift",
  "loretta_rep",
  "loretta_adp",
  "pafi",
  "sara",
  "full",
];
/** BitFit and HiWi train biases, and LoRTA needs k and v as wide as q: the LLaMA-shaped base has neither. */
const methodsOf = { llama: everywhere, gpt2: [...everywhere, "lorta", "bitfit", "hiwi"] };
/** Rows; for the test inputs, each with all its references. */
const sizes = { train: 3000, dev: 100, test: 100 };

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    zip: { type: "string" },
    base: { type: "string" },
    out: { type: "string" },
    keep: { type: "string" },
    methods: { type: "string" },
    seeds: { type: "string", default: "5" },
    steps: { type: "string", default: "120" },
    threads: { type: "string", default: "1" },
  },
});
const [family] = positionals;
if (!Object.hasOwn(methodsOf, family ?? "") || !values.zip || !values.base || !values.out) {
  console.error("Expected llama or gpt2, --zip, --base and --out; the head of this file describes them");
  process.exit(2);
}
const given = JSON.parse(readFileSync(join(values.base, "config.json"), "utf8")).model_type;
if (given !== family) {
  console.error(`Expected a base of model_type ${family} in ${values.base} but it is ${given}`);
  process.exit(2);
}
const rows = join(values.out, "rows");
const comparison = join(values.out, "comparison");
const { zip, base } = values;
const counts = writeE2eRows({ zip, base, out: rows, ...sizes });
writeFileSync(join(rows, "counts.json"), `${JSON.stringify(counts, null, 2)}\n`);
console.log(JSON.stringify(counts));
const { status } = spawnSync(
  process.execPath,
  [
    join(root, "dist", "cli", "main.js"),
    "compare",
    `--model=${relative(values.out, base)}`,
    "--dtype=float32",
    `--threads=${values.threads}`,
    ...["train", "dev", "test"].map((name) => `--${name === "train" ? "data" : name}=${join("rows", `${name}.jsonl`)}`),
    `--methods=${values.methods ?? methodsOf[family].join(",")}`,
    `--seeds=${values.seeds}`,
    "--learning-rates=auto",
    `--max-steps=${values.steps}`,
    "--batch-size=8",
    "--no-eval-every-epoch",
    "--metrics",
    "--max-new-tokens=64",
    "--out=comparison",
  ],
  { stdio: "inherit", cwd: values.out }, // so that the kept table names no folders of the machine
);
if (values.keep && existsSync(join(comparison, "table.md"))) {
  mkdirSync(values.keep, { recursive: true });
  for (const name of ["table.md", "chart.svg", "results.json"])
    copyFileSync(join(comparison, name), join(values.keep, name));
}
process.exitCode = status ?? 1; // 1: a method lacks results; the tables say why
