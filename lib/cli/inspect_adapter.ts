import { join } from "node:path";
import type { AdapterFileConfig } from "../adapter/config";
import { sitePath } from "../adapter/config";
import { readAdapterConfig, readAdapterVectors, tensorFile } from "../adapter/files";
import { readableFile } from "../files/atomic";
import { readSafetensors } from "../files/safetensors";
import type { Invocation } from "./command";
import { loadAdapter, loadModel } from "./load";
import { bytes, count, table } from "./text";

const parts = {
  all: ["scale", "bias"],
  scale: ["scale"],
  bias: ["bias"],
  ln: ["scale", "bias", "ln.weight", "ln.bias"],
} as const;

/** Names of the vectors that an adapter has to have. */
function vectorNames({ variant, sites, layers }: AdapterFileConfig): string[] {
  return layers.flatMap((layer) =>
    sites.flatMap((site) => parts[variant].map((part) => `layers.${layer}.${sitePath(site)}.${part}`)),
  );
}

/** All vectors of an adapter's folder; their widths are not known without the base, and taken as the file has them. */
async function readVectors(dir: string, config: AdapterFileConfig): Promise<Map<string, Float32Array>> {
  const tensors = await readSafetensors(await readableFile(dir, tensorFile)).catch(() => new Map());
  const width = (name: string): number => tensors.get(name)?.shape[0] ?? config.hidden;
  return readAdapterVectors(dir, new Map(vectorNames(config).map((name) => [name, width(name)])));
}

/** How far a vector is from doing nothing: mean and largest distance. */
function distance(values: Float32Array | undefined, identity: number): { mean: number; max: number } | null {
  if (!values) return null;
  let sum = 0;
  let max = 0;
  for (const value of values) {
    sum += Math.abs(value - identity);
    max = Math.max(max, Math.abs(value - identity));
  }
  return { mean: sum / values.length, max };
}

/** What an adapter edits, and how much; with --model, checked against its base. */
export async function inspectAdapter(invocation: Invocation, dir: string): Promise<void> {
  const { values, terminal } = invocation;
  const config = await readAdapterConfig(dir);
  const vectors = await readVectors(dir, config);
  if (values.model !== undefined) {
    const model = await loadModel(invocation);
    try {
      (await loadAdapter({ ...invocation, values: { ...values, adapter: dir } }, model))!.dispose();
    } finally {
      model.dispose();
    }
  }
  const parameters = [...vectors.values()].reduce((sum, { length }) => sum + length, 0);
  const names = new Set([...vectors.keys()].map((name) => name.replace(/\.(scale|bias|ln\.weight|ln\.bias)$/, "")));
  const sites = [...names].map((site) => ({
    site,
    scale: distance(vectors.get(`${site}.scale`), 1),
    bias: distance(vectors.get(`${site}.bias`), 0),
  }));
  const { variant, layers, base, tokenizer, rubricate } = config;
  terminal.event({
    dir,
    kind: config.kind,
    variant,
    sites: config.sites,
    layers,
    hidden: config.hidden,
    parameters,
    bytes: parameters * 4,
    base,
    tokenizer,
    rubricate,
    checkedAgainst: values.model ?? null,
    stats: sites,
  });
  terminal.print(`RED adapter    ${join(dir, "")}, written by rubricate ${rubricate}`);
  terminal.print(`edits          ${config.sites.join(", ")} of ${layers.length} layers, variant ${variant}`);
  terminal.print(`parameters     ${count(parameters)}, ${bytes(parameters * 4)}`);
  terminal.print(
    `base           ${base.name}, ${values.model === undefined ? "not checked (give --model)" : "which fits"}`,
  );
  terminal.print(`  architecture ${base.architecture}`);
  terminal.print(`  weights      ${base.weights}`);
  terminal.print();
  const figure = (value: number | undefined) => (value === undefined ? "" : value.toPrecision(4));
  const rows = sites.map(({ site, scale, bias }) => [
    site,
    ...[scale?.mean, scale?.max, bias?.mean, bias?.max].map(figure),
  ]);
  const header = ["site", "|scale - 1| mean", "max", "|bias| mean", "max"];
  for (const line of table([header, ...rows])) terminal.print(line);
}
