import { join } from "node:path";
import { type AdapterFileConfig, type RedSite, sitePath } from "../adapter/config";
import { readAdapterConfig, readAdapterVectors } from "../adapter/files";
import { methodIn } from "../adapter/load";
import { distance } from "../adapter/red_adapter";
import { mostBytes, type ReadTensor } from "../files/safetensors";
import { limits } from "../limits";
import type { Notice } from "../notices";
import type { Invocation } from "./command";
import { inspectIa3 } from "./inspect_ia3";
import { inspectLora } from "./inspect_lora";
import { inspectOther, namesStoredLayers } from "./inspect_other";
import { loadAdapter, loadModel } from "./load";
import { bytes, count, table } from "./text";

const parts = {
  all: ["scale", "bias"],
  scale: ["scale"],
  bias: ["bias"],
  ln: ["scale", "bias", "ln.weight", "ln.bias"],
} as const;

/** Maximum width of a projection in multiples of the residual stream's width. */
const mostTimesHidden = 64;

/** A vector that an adapter must have. */
interface Expected {
  readonly name: string;
  readonly site: RedSite;
}

function expectedVectors({ variant, sites, layers }: AdapterFileConfig): Expected[] {
  return layers.flatMap((layer) =>
    sites.flatMap((site) =>
      parts[variant].map((part) => ({ name: `layers.${layer}.${sitePath(site)}.${part}`, site })),
    ),
  );
}

/**
 * Reads all vectors of an adapter's folder. Those after the feed-forward and the attention have the width of the residual
 * stream. The widths of q, of k and v, and of gate and up are known only with the base (--model): without it, the first
 * vector of each group sets the width, and the others must match.
 */
function readVectors(dir: string, config: AdapterFileConfig): Promise<Map<string, Float32Array>> {
  const expected = expectedVectors(config);
  const widest = Math.min(config.hidden, limits.maxHidden) * mostTimesHidden;
  const most = mostBytes(expected.length, Math.min(expected.length, limits.maxTensorsRead) * widest);
  const shapesOf = (tensors: ReadonlyMap<string, ReadTensor>) => {
    const firstOf = (...sites: RedSite[]) => {
      const first = expected.find(({ site }) => sites.includes(site));
      return (first && tensors.get(first.name)?.shape[0]) ?? config.hidden;
    };
    const [keys, inner] = [firstOf("k", "v"), firstOf("gate", "up")];
    const closing = { ffn: config.hidden, attention: config.hidden };
    const widths = { ...closing, q: firstOf("q"), k: keys, v: keys, gate: inner, up: inner };
    return new Map(expected.map(({ name, site }) => [name, [widths[site]]]));
  };
  return readAdapterVectors(dir, shapesOf, most);
}

/** Loads the adapter with --model, if given. @returns its notices */
async function checkedAgainstBase(invocation: Invocation, dir: string): Promise<readonly Notice[]> {
  const { values } = invocation;
  if (values.model === undefined) return [];
  const model = await loadModel(invocation);
  try {
    const adapter = (await loadAdapter({ ...invocation, values: { ...values, adapter: dir } }, model))!;
    const { notices } = adapter;
    adapter.dispose();
    return notices;
  } finally {
    model.dispose();
  }
}

/** How far the vectors of each site are from their identities. */
function siteStats(vectors: ReadonlyMap<string, Float32Array>) {
  const names = new Set([...vectors.keys()].map((name) => name.replace(/\.(scale|bias|ln\.weight|ln\.bias)$/, "")));
  const statsOf = (name: string, identity: number) => {
    const vector = vectors.get(name);
    return vector ? distance(vector, identity) : null;
  };
  return [...names].map((site) => ({
    site,
    scale: statsOf(`${site}.scale`, 1),
    bias: statsOf(`${site}.bias`, 0),
  }));
}

/** Shows what an adapter edits, and how much; with --model, checks it against its base. */
export async function inspectAdapter(invocation: Invocation, dir: string): Promise<void> {
  const method = await methodIn(dir);
  const check = () => checkedAgainstBase(invocation, dir);
  if (method !== "red" && (await namesStoredLayers(dir))) return inspectOther(invocation, dir, check);
  if (method === "lora") return inspectLora(invocation, dir, check);
  if (method === "ia3") return inspectIa3(invocation, dir, check);
  if (method !== "red") return inspectOther(invocation, dir, check);
  const { values, terminal } = invocation;
  const config = await readAdapterConfig(dir);
  const vectors = await readVectors(dir, config);
  const notices = await checkedAgainstBase(invocation, dir);
  const parameters = [...vectors.values()].reduce((sum, { length }) => sum + length, 0);
  const sites = siteStats(vectors);
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
    notices,
    stats: sites,
  });
  terminal.print(`RED adapter    ${join(dir, "")}, written by rubricate ${rubricate}`);
  terminal.print(`edits          ${config.sites.join(", ")} of ${layers.length} layers, variant ${variant}`);
  terminal.print(`parameters     ${count(parameters)}, ${bytes(parameters * 4)}`);
  const found = (code: Notice["code"]) => notices.some((notice) => notice.code === code);
  const fits = found("RUBRICATE_BASE_MISMATCH") ? "which is not this model" : "which fits";
  terminal.print(`base           ${base.name}, ${values.model === undefined ? "not checked (give --model)" : fits}`);
  terminal.print(`  architecture ${base.architecture}`);
  terminal.print(`  weights      ${base.weights}`);
  const differs = found("RUBRICATE_TOKENIZER_CHANGED") || found("RUBRICATE_CHAT_TEMPLATE_CHANGED");
  const same = values.model === undefined ? "" : differs ? ", not that of this model" : ", that of this model";
  terminal.print(`tokenizer      ${tokenizer ? `${tokenizer.hash}${same}` : "none"}`);
  terminal.print();
  const figure = (value: number | undefined) => (value === undefined ? "" : value.toPrecision(4));
  const rows = sites.map(({ site, scale, bias }) => [
    site,
    ...[scale?.mean, scale?.max, bias?.mean, bias?.max].map(figure),
  ]);
  const header = ["site", "|scale - 1| mean", "max", "|bias| mean", "max"];
  for (const line of table([header, ...rows])) terminal.print(line);
}
