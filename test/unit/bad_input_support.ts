/** Helpers for the tables of bad input. */
import { cpSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { RedSite } from "../../lib/adapter/config";
import { RedAdapter } from "../../lib/adapter/red_adapter";
import { Dataset, type DatasetOptions } from "../../lib/data/dataset";
import type { ErrorCode } from "../../lib/errors";
import type { GenerateOptions } from "../../lib/generate/options";
import { LanguageModel, type LoadOptions } from "../../lib/model/model";
import type { TrainerOptions } from "../../lib/train/options";
import { Trainer } from "../../lib/train/trainer";
import { config, context, rewriteHeader } from "./cli_support";

/** Everything happens below this folder. */
export const home = mkdtempSync(join(tmpdir(), "rubricate-bad-"));
export const at = (...names: string[]) => join(home, ...names);

/** A kind of bad input: how it is made, how the command line and the API receive it, and the expected error. */
export interface Case {
  readonly what: string;
  /** Makes the bad input; `folder` is its own. */
  readonly make?: (folder: string) => unknown;
  readonly argv: (folder: string) => string[];
  readonly api: (folder: string) => Promise<unknown>;
  readonly code: ErrorCode;
  /** Part of both messages: what was expected, or what is wrong. */
  readonly says: RegExp;
  /** The command line's message, if it differs. */
  readonly saysCli?: RegExp;
}

export const good = () => at("good");
export const data = () => at("data.jsonl");

/** A copy of the good model, to be broken. */
export const broken = (change: (folder: string) => unknown) => (folder: string) => {
  cpSync(good(), folder, { recursive: true });
  return change(folder);
};
export const weightsOf = (folder: string) => join(folder, "model.safetensors");
export const inHeader = (change: Parameters<typeof rewriteHeader>[1]) =>
  broken((folder) => rewriteHeader(weightsOf(folder), change));
export const inConfig = (changes: object) =>
  broken((folder) => writeFileSync(join(folder, "config.json"), JSON.stringify({ ...config, ...changes })));
export const inTokenizerConfig = (changes: object) =>
  broken((folder) => {
    const path = join(folder, "tokenizer_config.json");
    writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, "utf8")), ...changes }));
  });

export const loads = (folder: string, options?: LoadOptions) =>
  LanguageModel.fromPretrained(folder, options).then((model) => model.dispose());

export async function withModel<T>(folder: string, work: (model: LanguageModel) => Promise<T>): Promise<T> {
  const model = await LanguageModel.fromPretrained(folder);
  try {
    return await work(model);
  } finally {
    model.dispose();
  }
}

export const generates = (folder: string, options: GenerateOptions) =>
  withModel(folder, async (model) => {
    for await (const _ of model.generate({ maxNewTokens: 4, ...options })) {
      // only whether it ends matters
    }
  });

export const reads = (file: string, folder = good(), options: Partial<DatasetOptions> = {}) =>
  withModel(folder, async (model) => {
    const read = await Dataset.fromJsonl(file, { tokenizer: model.requireTokenizer(), maxLength: context, ...options });
    await read.dispose();
  });

export type Training = Partial<TrainerOptions> & { layers?: number[]; sites?: RedSite[]; variant?: "all" };

export const trains = (out: string, options: Training = {}, folder = good(), file = data()) =>
  withModel(folder, async (model) => {
    const { layers, sites, variant, ...rest } = options;
    await using train = await Dataset.fromJsonl(file, { tokenizer: model.requireTokenizer(), maxLength: context });
    const adapter = RedAdapter.create(model, { layers, sites, variant });
    const trainer = new Trainer({ model, adapter, train, outputDir: out, maxSteps: 2, ...rest });
    for await (const _ of trainer.run()) {
      // only whether it ends matters
    }
    await adapter.savePretrained(out);
  });

export const adapts = (adapter: string) =>
  withModel(good(), async (model) => (await RedAdapter.fromPretrained(adapter, model)).dispose());

export const inspects = (folder: string) => ["inspect", "--model", folder];
export const trainArguments = (out: string, ...more: string[]) => [
  ...["train", "--model", good(), "--data", data(), "--out", out, "--max-steps", "2"],
  ...more,
];
export const adapted = (folder: string) => ["generate", "--model", good(), "--adapter", folder, "--prompt", "x"];

/** A model that cannot be loaded. */

export const q = "model.layers.0.self_attn.q_proj.weight";
export const loop = "{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}";
