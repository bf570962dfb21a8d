/** Data, outputs, checkpoints and options that cannot be used. */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ErrorCode } from "../../lib/errors";
import { replaceFileOperations } from "../../lib/files/operations";
import { type Case, good, reads, type Training, trainArguments, trains } from "./bad_input_support";
import { rowsOf } from "./cli_support";

/** Data that cannot be used. */
const rows = (what: string, text: string, code: ErrorCode, says: RegExp): Case => ({
  what,
  make: (folder) => {
    mkdirSync(folder);
    writeFileSync(join(folder, "rows.jsonl"), text);
  },
  argv: (folder) => ["eval", "--model", good(), "--data", join(folder, "rows.jsonl")],
  api: (folder) => reads(join(folder, "rows.jsonl")),
  code,
  says,
});

/** An option that the API refuses, and the corresponding flag. */
const option = (what: string, flag: string[], options: object, says: RegExp, saysCli: RegExp): Case => ({
  what,
  argv: (folder) => trainArguments(folder, ...flag),
  api: (folder) => trains(folder, options as Training),
  code: "ERR_ARGUMENT",
  says,
  saysCli,
});

export const badTraining: readonly Case[] = [
  rows("no rows", "", "ERR_DATA", /holds no rows/),
  rows("only blank lines", "\n\n  \n", "ERR_DATA", /holds no rows/),
  rows("no row that can be used", 'not json\n{"text":""}\n[1]\n', "ERR_DATA", /line 1: not valid JSON/),
  rows("bytes that are not text", "\u0000\ufffd\u0001\n", "ERR_DATA", /line 1/),
  {
    what: "data that are not there",
    argv: (f) => ["train", "--model", good(), "--data", f, "--out", join(f, "out")],
    api: reads,
    code: "ERR_FILE",
    says: /Cannot read .*ENOENT/,
  },
  {
    what: "a folder in place of data",
    make: (f) => mkdirSync(f),
    argv: (f) => ["eval", "--model", good(), "--data", f],
    api: reads,
    code: "ERR_FILE",
    says: /Expected a regular file at .* but it is a folder/,
  },
  {
    what: "one row, to be parted in two",
    make: (f) => {
      mkdirSync(f);
      writeFileSync(join(f, "one.jsonl"), rowsOf(1));
    },
    argv: (f) => ["train", "--model", good(), "--data", join(f, "one.jsonl"), "--out", join(f, "out"), "--eval", "0.5"],
    api: (f) => trains(join(f, "out"), { eval: 0.5 }, good(), join(f, "one.jsonl")),
    code: "ERR_DATA",
    says: /Expected at least 2 examples to split but received 1/,
  },
  {
    what: "micro-batches too small for a row",
    argv: (f) => trainArguments(f, "--packing=4"),
    api: (f) => trains(f, { packing: { maxTokens: 4 } }),
    code: "ERR_DATA",
    says: /more than a packed micro-batch of 4/,
  },
  {
    what: "an output folder below a file",
    make: (f) => writeFileSync(f, ""),
    argv: (f) => trainArguments(join(f, "out")),
    api: (f) => trains(join(f, "out")),
    code: "ERR_FILE",
    says: /Cannot write .*ENOTDIR/,
  },
  {
    what: "a full disk",
    make: () => fillDisk(),
    argv: (f) => trainArguments(f, "--checkpoint-every-steps", "1"),
    api: (f) => trains(f, { checkpointEverySteps: 1 }),
    code: "ERR_FILE",
    says: /Cannot write .*ENOSPC/,
  },
  {
    what: "nothing to resume from",
    argv: (f) => trainArguments(f, "--resume"),
    api: (f) => trains(f, { resume: true }),
    code: "ERR_CHECKPOINT",
    says: /Expected a checkpoint to resume from/,
  },
  {
    what: "a checkpoint that is not there",
    argv: (f) => trainArguments(f, `--resume=${join(f, "checkpoint-7")}`),
    api: (f) => trains(f, { resume: join(f, "checkpoint-7") }),
    code: "ERR_CHECKPOINT",
    says: /Expected a checkpoint's folder at/,
  },
  {
    what: "a checkpoint of another run",
    make: (f) => trains(f, { checkpointEverySteps: 1 }).then(() => rmSync(join(f, "adapter_config.json"))),
    argv: (f) => trainArguments(f, "--resume", "--learning-rate", "0.5"),
    api: (f) => trains(f, { resume: true, learningRate: 0.5 }),
    code: "ERR_CHECKPOINT",
    says: /belongs to another run: it has (learningRate|--learning-rate) 0\.1, this one 0\.5/,
  },
  {
    what: "checkpoints in the way",
    make: (f) => trains(f, { checkpointEverySteps: 1 }).then(() => rmSync(join(f, "adapter_config.json"))),
    argv: (f) => trainArguments(f),
    api: (f) => trains(f),
    code: "ERR_CHECKPOINT",
    says: /Expected no checkpoints of an earlier run/,
  },
  {
    what: "a layer that the model has not",
    argv: (f) => trainArguments(f, "--layers", "0,99"),
    api: (f) => trains(f, { layers: [0, 99] }),
    code: "ERR_ARGUMENT",
    says: /Expected layer numbers from 0 to 1 for (--)?layers but received 99/,
  },
  option(
    "layers that are none",
    ["--layers", "0-x"],
    { layers: ["0-x"] },
    /layers/,
    /Expected layers from 0 such as 0-3,7.* for --layers but received "0-x"/,
  ),
  option(
    "an unknown site",
    ["--sites", "ffn,mlp"],
    { sites: ["ffn", "mlp"] },
    /Expected some of ffn, attention.* for sites/,
    /Expected some of ffn, attention.* for --sites but received "ffn,mlp"/,
  ),
  option(
    "an unknown variant",
    ["--variant", "both"],
    { variant: "both" },
    /Expected one of all, scale.* for variant/,
    /Expected one of all, scale.* for --variant but received "both"/,
  ),
  option(
    "an unknown flag",
    ["--learning-rat", "1"],
    { learningRat: 1 },
    /Unknown option "learningRat" for Trainer; did you mean learningRate\?/,
    /Expected a flag of rubricate train but received "--learning-rat"; did you mean --learning-rate\?/,
  ),
  option(
    "a number that is none",
    ["--learning-rate", "fast"],
    { learningRate: "fast" },
    /Expected a number of at least 0 or "sweep" for learningRate/,
    /Expected a number of at least 0 or "sweep" for --learning-rate but received "fast"/,
  ),
  option(
    "no epochs",
    ["--epochs", "0"],
    { epochs: 0 },
    /Expected a positive integer for epochs/,
    /Expected a positive integer for --epochs but received "0"/,
  ),
  option(
    "a seed below 0",
    ["--seed", "-1"],
    { seed: -1 },
    /Expected an integer from 0 to 2\^53 - 1 for seed/,
    /Expected an integer from 0 to 2\^53 - 1 for --seed but received "-1"/,
  ),
  option(
    "more than all data to evaluate with",
    ["--eval", "1.5"],
    { eval: 1.5 },
    /number between 0 and 1/,
    /number between 0 and 1, for --eval but received "1\.5"/,
  ),
  option(
    "an unknown schedule",
    ["--schedule", "steps"],
    { schedule: "steps" },
    /Expected one of linear.* for schedule/,
    /Expected one of linear.* for --schedule but received "steps"/,
  ),
  option(
    "a flag without its value",
    ["--batch-size"],
    { batchSize: "8" },
    /Expected a positive integer for batchSize/,
    /for --batch-size but received nothing/,
  ),
];

/** No write succeeds from now on. */
function fillDisk(): void {
  const full = async () => {
    throw Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" });
  };
  replaceFileOperations((real) => ({
    ...real,
    create: async (path) => ({ ...(await real.create(path)), write: full }),
  }));
}
