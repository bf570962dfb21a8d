/** `rubricate inspect` of a LoRA adapter. */
import { join } from "node:path";
import { readAdapterText, readAdapterVectors } from "../adapter/files";
import { type LoraFileConfig, loraFactor, loraModules, parseLoraConfig } from "../adapter/lora_config";
import { RubricateError } from "../errors";
import { isObject, parseJson } from "../files/json";
import { mostBytes, type ReadTensor } from "../files/safetensors";
import { limits } from "../limits";
import type { Notice } from "../notices";
import type { Invocation } from "./command";
import { bytes, count, table } from "./text";

/** Numbers of all matrices at most: without the base, their sizes are not known. */
const mostNumbers = 1 << 28;

const matrixName = new RegExp(
  `^base_model\\.model\\.model\\.(layers\\.\\d{1,4}\\.(?:self_attn|mlp)\\.(${loraModules.join("|")}))\\.lora_([AB])\\.weight$`,
);

/** The matrices, whose rank must be the configured one; their other sizes are known only with the base. */
function readMatrices(dir: string, config: LoraFileConfig): Promise<Map<string, Float32Array>> {
  const shapesOf = (tensors: ReadonlyMap<string, ReadTensor>) => {
    const shapes = new Map<string, readonly number[]>();
    for (const [name, { shape }] of tensors) {
      const [, layer, module, which] = matrixName.exec(name) ?? [];
      if (!module || !config.targetModules.includes(module as never)) continue; // is refused as not expected
      const other = `base_model.model.model.${layer}.lora_${which === "A" ? "B" : "A"}.weight`;
      shapes.set(name, which === "A" ? [config.rank, shape[1] ?? 0] : [shape[0] ?? 0, config.rank]);
      if (!tensors.has(other)) shapes.set(other, []);
    }
    return shapes;
  };
  const most = mostBytes(limits.maxTensorsRead, mostNumbers);
  return readAdapterVectors(dir, shapesOf, most, ["F32", "BF16", "F16"]);
}

/** The root mean square of a matrix. */
const sizeOf = (values: Float32Array) =>
  Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length);

function sizesOf(matrices: ReadonlyMap<string, Float32Array>) {
  const layers = new Map<string, { layer: string; a: number; b: number }>();
  for (const [name, values] of matrices) {
    const [, layer, , which] = matrixName.exec(name)!;
    const own = layers.get(layer!) ?? { layer: layer!, a: 0, b: 0 };
    own[which === "A" ? "a" : "b"] = sizeOf(values);
    layers.set(layer!, own);
  }
  return [...layers.values()].sort((x, y) => x.layer.localeCompare(y.layer, "en", { numeric: true }));
}

/** Shows what a LoRA adapter updates, and how much. `check`: loads it with --model, if given, for its notices. */
export async function inspectLora(
  { values, terminal }: Invocation,
  dir: string,
  check: () => Promise<readonly Notice[]>,
): Promise<void> {
  const { text, path } = await readAdapterText(dir);
  const document = parseJson(text, path, "ERR_ADAPTER_FORMAT");
  if (!isObject(document)) throw new RubricateError("ERR_ADAPTER_FORMAT", `Expected an object in ${path}`);
  const config = parseLoraConfig(document, path);
  const matrices = await readMatrices(dir, config);
  const notices = await check();
  const parameters = [...matrices.values()].reduce((sum, { length }) => sum + length, 0);
  const stats = sizesOf(matrices);
  const { rank, alpha, targetModules, layers, rankStabilized, origin } = config;
  terminal.event({
    dir,
    kind: "lora",
    rank,
    alpha,
    rankStabilized,
    targetModules,
    layers: layers ?? null,
    parameters,
    bytes: parameters * 4,
    base: origin?.base ?? null,
    tokenizer: origin?.tokenizer ?? null,
    rubricate: origin?.rubricate ?? null,
    checkedAgainst: values.model ?? null,
    notices,
    stats,
  });
  const factor = loraFactor({ ...config, layers: [] });
  terminal.print(`LoRA adapter   ${join(dir, "")}, written by ${origin ? `rubricate ${origin.rubricate}` : "PEFT"}`);
  terminal.print(
    `updates        ${targetModules.join(", ")} of ${layers === undefined ? "all" : layers.length} layers`,
  );
  terminal.print(`rank           ${rank}, alpha ${alpha}, factor ${factor.toPrecision(4)}`);
  terminal.print(`parameters     ${count(parameters)}, ${bytes(parameters * 4)}`);
  const fits = notices.some(({ code }) => code === "RUBRICATE_BASE_MISMATCH")
    ? "which is not this model"
    : "which fits";
  const checked = values.model === undefined ? "not checked (give --model)" : fits;
  terminal.print(`base           ${origin ? `${origin.base.name}, ${checked}` : "not recorded"}`);
  terminal.print();
  const rows = stats.map(({ layer, a, b }) => [layer, a.toPrecision(4), b.toPrecision(4)]);
  for (const line of table([["layer", "A, root mean square", "B"], ...rows])) terminal.print(line);
}
