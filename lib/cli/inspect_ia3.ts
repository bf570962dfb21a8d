/** `rubricate inspect` of an (IA)3 adapter. */
import { join } from "node:path";
import { readAdapterText, readAdapterVectors } from "../adapter/files";
import { type Ia3FileConfig, ia3Modules, parseIa3Config } from "../adapter/ia3_config";
import { storedShape } from "../adapter/ia3_plan";
import { distance } from "../adapter/red_adapter";
import { RubricateError } from "../errors";
import { isObject, parseJson } from "../files/json";
import { mostBytes, type ReadTensor } from "../files/safetensors";
import { limits } from "../limits";
import type { Notice } from "../notices";
import type { Invocation } from "./command";
import { bytes, count, plural, table } from "./text";

/** Numbers of all vectors at most: without the base, their sizes are not known. */
const mostNumbers = 1 << 28;

const vectorName = new RegExp(
  `^base_model\\.model\\.model\\.(layers\\.(\\d{1,4})\\.(?:self_attn|mlp)\\.(${ia3Modules.join("|")}))\\.ia3_l$`,
);

/** The vectors: one of each module in each layer that the file has; their lengths are known only with the base. */
function readVectors(dir: string, config: Ia3FileConfig): Promise<Map<string, Float32Array>> {
  const shapesOf = (tensors: ReadonlyMap<string, ReadTensor>) => {
    const shapes = new Map<string, readonly number[]>();
    const layers = new Set<string>();
    for (const [name, { shape }] of tensors) {
      const [, , layer, module] = vectorName.exec(name) ?? [];
      if (!module || !config.targetModules.includes(module as never)) continue; // is refused as not expected
      const length = shape.reduce((product, size) => product * size, 1);
      shapes.set(name, storedShape(name, length, config.feedforwardModules));
      layers.add(layer!);
    }
    for (const layer of layers.size === 0 ? ["0"] : layers)
      for (const module of config.targetModules) {
        const half = ["gate_proj", "up_proj", "down_proj"].includes(module) ? "mlp" : "self_attn";
        const name = `base_model.model.model.layers.${layer}.${half}.${module}.ia3_l`;
        if (!shapes.has(name)) shapes.set(name, []); // is refused as missing
      }
    return shapes;
  };
  const most = mostBytes(limits.maxTensorsRead, mostNumbers);
  return readAdapterVectors(dir, shapesOf, most, ["F32", "BF16", "F16"]);
}

function statsOf(vectors: ReadonlyMap<string, Float32Array>) {
  const stats = [...vectors].map(([name, values]) => ({
    site: vectorName.exec(name)![1]!,
    scale: distance(values, 1),
  }));
  return stats.sort((x, y) => x.site.localeCompare(y.site, "en", { numeric: true }));
}

/** Shows what an (IA)3 adapter scales, and how much. `check`: loads it with --model, if given, for its notices. */
export async function inspectIa3(
  { values, terminal }: Invocation,
  dir: string,
  check: () => Promise<readonly Notice[]>,
): Promise<void> {
  const { text, path } = await readAdapterText(dir);
  const document = parseJson(text, path, "ERR_ADAPTER_FORMAT");
  if (!isObject(document)) throw new RubricateError("ERR_ADAPTER_FORMAT", `Expected an object in ${path}`);
  const config = parseIa3Config(document, path);
  const vectors = await readVectors(dir, config);
  const notices = await check();
  const parameters = [...vectors.values()].reduce((sum, { length }) => sum + length, 0);
  const stats = statsOf(vectors);
  const { targetModules, feedforwardModules, origin } = config;
  terminal.event({
    dir,
    kind: "ia3",
    targetModules,
    feedforwardModules,
    parameters,
    bytes: parameters * 4,
    base: origin?.base ?? null,
    tokenizer: origin?.tokenizer ?? null,
    rubricate: origin?.rubricate ?? null,
    checkedAgainst: values.model ?? null,
    notices,
    stats,
  });
  const layers = vectors.size / targetModules.length;
  const outputs = targetModules.filter((name) => !feedforwardModules.includes(name));
  terminal.print(`(IA)3 adapter  ${join(dir, "")}, written by ${origin ? `rubricate ${origin.rubricate}` : "PEFT"}`);
  terminal.print(`scales outputs ${outputs.join(", ") || "none"} of ${plural(layers, "layer")}`);
  terminal.print(`scales inputs  ${feedforwardModules.join(", ") || "none"} of ${plural(layers, "layer")}`);
  terminal.print(`parameters     ${count(parameters)}, ${bytes(parameters * 4)}`);
  const fits = notices.some(({ code }) => code === "RUBRICATE_BASE_MISMATCH")
    ? "which is not this model"
    : "which fits";
  const checked = values.model === undefined ? "not checked (give --model)" : fits;
  terminal.print(`base           ${origin ? `${origin.base.name}, ${checked}` : "not recorded"}`);
  terminal.print();
  const rows = stats.map(({ site, scale }) => [site, scale.mean.toPrecision(4), scale.max.toPrecision(4)]);
  for (const line of table([["site", "|scale - 1| mean", "max"], ...rows])) terminal.print(line);
}
