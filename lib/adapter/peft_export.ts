/** Writes adapters as stock PEFT reads them: LoRA and (IA)3 at the layers that PEFT knows, RED as two of PEFT's adapters. */
import { join, resolve } from "node:path";
import { requireAdapter, requireModel } from "../brands";
import { invalid } from "../errors";
import { type FileContents, writeInto } from "../files/atomic";
import type { JsonObject } from "../files/json";
import { staleFiles } from "../model/companions";
import type { LanguageModel } from "../model/model";
import type { NativeLinearSite } from "../native";
import { booleanOf, checkOptions, type OptionNames, pathOf } from "../options";
import type { Adapter } from "./adapter";
import { originOf } from "./base_match";
import { type AdapterOrigin, nativeSites, type RedAdapterConfig, type RedSite } from "./config";
import { adapterFiles } from "./files";
import { type Ia3AdapterConfig, ia3Document } from "./ia3_config";
import { ia3Suffix } from "./ia3_plan";
import { type LoraAdapterConfig, loraDocument } from "./lora_config";
import { requireFree, requireOtherThanModel } from "./merge";
import { ownName, wrapped } from "./peft_layout";
import { outputsOf, type StoredLayer, StoredLayers, type StoredPartOf } from "./peft_stored";

/** Options of `exportPeft`. */
export interface ExportPeftOptions {
  /** Replace a model or an adapter in a folder, other than `model`. Default: false. */
  readonly overwrite?: boolean;
}

const optionNames: OptionNames<ExportPeftOptions> = { overwrite: true };

/** What an adapter is written from. */
interface Source {
  readonly model: LanguageModel;
  readonly names: StoredLayers;
  readonly vectors: ReadonlyMap<string, Float32Array>;
  readonly origin: AdapterOrigin;
}

interface Tensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

/**
 * Writes an adapter as stock PEFT loads it, also for a family whose checkpoints store linear layers under other names or
 * fused (GPT-2, Phi-3). LoRA, (IA)3 and LN tuning become one folder, `dir`. RED becomes one folder for its scales, `dir/scale`,
 * an (IA)3 adapter, and one for its biases, `dir/bias`, a LoRA adapter whose matrices are 0 and whose biases are RED's: PEFT
 * loads the first, merges it, and loads the second. docs/methods.md shows it. Each folder is written atomically.
 * @param adapter of this model
 * @returns the folders, in the order in which PEFT has to load them
 * @throws RubricateError ERR_ARGUMENT for an adapter that PEFT has no form for, such as RED's variant with a layer norm; ERR_FILE,
 * also if a folder is that of the model, or has a model or an adapter; ERR_NOT_FINITE, ERR_FOREIGN, ERR_DISPOSED
 */
export async function exportPeft(
  model: LanguageModel,
  adapter: Adapter,
  dir: string,
  options: ExportPeftOptions = {},
): Promise<string[]> {
  requireModel(model);
  requireAdapter(adapter);
  const folder = resolve(pathOf("dir", dir)); // before the working directory can change
  const given = checkOptions(options, optionNames, "exportPeft");
  const overwrite = booleanOf("overwrite", given.overwrite, false);
  adapter.nativeFor(model);
  const written = await filesFor(model, adapter);
  const folders = [...written.keys()].map((name) => join(folder, name));
  for (const own of folders) {
    await requireOtherThanModel(own, model.dir, ["the exported adapter", "the export"]);
    if (!overwrite) await requireFree(own, "the exported adapter");
  }
  for (const [name, files] of written) {
    const own = join(folder, name);
    await writeInto(own, files, () =>
      staleFiles(
        own,
        files.map((file) => file.name),
      ),
    );
  }
  return folders;
}

/** The files by folder, within the one that is named. */
async function filesFor(model: LanguageModel, adapter: Adapter): Promise<Map<string, FileContents[]>> {
  const names = new StoredLayers(model.description);
  const vectors = adapter.vectors();
  const source: Source = { model, names, vectors, origin: await originOf(model) };
  switch (adapter.method as string) {
    case "norms":
      return new Map([["", await adapter.files()]]);
    case "lora":
      return new Map([
        ["", names.areOwn ? await adapter.files() : loraFiles(source, adapter.config as LoraAdapterConfig)],
      ]);
    case "ia3":
      return new Map([
        ["", names.areOwn ? await adapter.files() : ia3Files(source, adapter.config as Ia3AdapterConfig)],
      ]);
    case "red":
      return redFiles(source, adapter.config as RedAdapterConfig);
    default:
      throw invalid("adapter", "one of red, lora, ia3 or norms, which PEFT can load,", adapter.method);
  }
}

/** A stored layer, and its parts that are edited. */
interface Edited {
  readonly stored: StoredLayer;
  readonly parts: readonly StoredPartOf[];
}

function editedBy(names: StoredLayers, modules: readonly NativeLinearSite[]): Edited[] {
  return names.all
    .map((stored) => ({ stored, parts: stored.parts.filter(({ module }) => modules.includes(module)) }))
    .filter(({ parts }) => parts.length > 0);
}

/** A vector of a stored layer's outputs: those of its parts, and `start` for the other outputs. */
function joined({ stored, parts }: Edited, start: number, values: (part: StoredPartOf) => Float32Array): Float32Array {
  const all = new Float32Array(outputsOf(stored)).fill(start);
  for (const part of parts) all.set(values(part), part.begin);
  return all;
}

// ---- LoRA ----------------------------------------------------------------------------------------------------------

const sameBits = (a: Float32Array, b: Float32Array) => a.every((value, at) => Object.is(value, b[at]));

/**
 * If all parts of a stored layer have the same A in all blocks, it has that A and their rows of B. Else it has the As one below the
 * other, and for each B a block of columns: its rank is that of all parts together.
 */
function loraFiles({ model, names, vectors, origin }: Source, config: LoraAdapterConfig): FileContents[] {
  const { rank, layers, alpha, rankStabilized } = config;
  const matrix = (layer: number, { module }: StoredPartOf, which: "A" | "B") =>
    vectors.get(`${ownName(layer, module)}.lora_${which}.weight`)!;
  const tensors: Tensor[] = [];
  const ranks: Record<string, number> = {};
  const alphas: Record<string, number> = {};
  const edited = editedBy(names, config.targetModules);
  for (const { stored, parts } of edited) {
    const [first, ...others] = parts;
    const isShared =
      parts.length === stored.parts.length &&
      layers.every((layer) => others.every((part) => sameBits(matrix(layer, first!, "A"), matrix(layer, part, "A"))));
    const count = isShared ? 1 : parts.length;
    const [outputs, inputs, total] = [outputsOf(stored), first!.inputs, count * rank];
    for (const layer of layers) {
      const a = new Float32Array(total * inputs);
      const b = new Float32Array(outputs * total);
      for (const [index, part] of parts.entries()) {
        const column = isShared ? 0 : index * rank;
        a.set(matrix(layer, part, "A"), column * inputs);
        const own = matrix(layer, part, "B");
        for (let row = 0; row < part.outputs; row++)
          b.set(own.subarray(row * rank, (row + 1) * rank), (part.begin + row) * total + column);
      }
      const name = `${wrapped}${names.fullName(layer, stored)}`;
      tensors.push({ name: `${name}.lora_A.weight`, shape: [total, inputs], values: a });
      tensors.push({ name: `${name}.lora_B.weight`, shape: [outputs, total], values: b });
    }
    if (count === 1) continue;
    ranks[stored.place] = total;
    alphas[stored.place] = alpha * (rankStabilized ? Math.sqrt(count) : count); // the factor stays what it was
  }
  const document: JsonObject = {
    ...loraDocument(config, model.architecture.stacks[0].layers, origin),
    target_modules: edited.map(({ stored }) => stored.place),
    fan_in_fan_out: names.transposed,
    rank_pattern: ranks,
    alpha_pattern: alphas,
  };
  return adapterFiles(document, tensors);
}

// ---- (IA)3 ---------------------------------------------------------------------------------------------------------

/** @throws RubricateError ERR_ARGUMENT if parts of a stored layer have inputs with scales of their own */
function ia3Files({ model, names, vectors, origin }: Source, config: Ia3AdapterConfig): FileContents[] {
  const layers = [...Array(model.architecture.stacks[0].layers).keys()];
  const scaleOf = (layer: number, { module }: StoredPartOf) => vectors.get(`${ownName(layer, module)}${ia3Suffix}`)!;
  const edited = editedBy(names, config.targetModules);
  const scalesInput = ({ parts }: Edited) => parts.some(({ module }) => config.feedforwardModules.includes(module));
  const tensors = layers.flatMap((layer) =>
    edited.map((own): Tensor => {
      const name = `${wrapped}${names.fullName(layer, own.stored)}${ia3Suffix}`;
      if (!scalesInput(own)) {
        const values = joined(own, 1, (part) => scaleOf(layer, part));
        return { name, shape: [values.length, 1], values };
      }
      const values = scaleOf(layer, own.parts[0]!);
      const isWhole = own.parts.length === own.stored.parts.length;
      if (!isWhole || own.parts.some((part) => !sameBits(values, scaleOf(layer, part))))
        throw invalid(
          "adapter",
          `one with the same scale of the inputs of all of ${own.stored.parts.map(({ module }) => module).join(", ")}, ` +
            `which PEFT has as ${own.stored.place},`,
          `others in layer ${layer}`,
        );
      return { name, shape: [1, values.length], values };
    }),
  );
  const places = (some: readonly Edited[]) => some.map(({ stored }) => stored.place);
  const document: JsonObject = {
    ...ia3Document(config, origin),
    target_modules: places(edited),
    feedforward_modules: places(edited.filter(scalesInput)),
    fan_in_fan_out: names.transposed,
  };
  return adapterFiles(document, tensors);
}

// ---- RED -----------------------------------------------------------------------------------------------------------

/** @throws RubricateError ERR_ARGUMENT for the variant with a layer norm */
function redFiles(source: Source, { variant, sites, layers }: RedAdapterConfig): Map<string, FileContents[]> {
  if (variant === "ln") throw invalid("adapter", "one without a layer norm, which PEFT cannot apply,", `variant "ln"`);
  const { names, vectors } = source;
  const edited = editedBy(
    names,
    sites.map((site: RedSite) => nativeSites[site]),
  );
  const places = layers.flatMap((layer) => edited.map((own) => ({ layer, own })));
  const partOf = (layer: number, { module }: StoredPartOf, part: "scale" | "bias") =>
    vectors.get(`${ownName(layer, module).slice(wrapped.length + "model.".length)}.${part}`)!;
  const folders = new Map<string, FileContents[]>();
  if (variant !== "bias") {
    const tensors = places.map(({ layer, own }): Tensor => {
      const values = joined(own, 1, (part) => partOf(layer, part, "scale"));
      return { name: `${wrapped}${names.fullName(layer, own.stored)}${ia3Suffix}`, shape: [values.length, 1], values };
    });
    folders.set("scale", adapterFiles(scaleDocument(source, places), tensors));
  }
  if (variant !== "scale") {
    const tensors = places.flatMap(({ layer, own }): Tensor[] => {
      const name = `${wrapped}${names.fullName(layer, own.stored)}`;
      const values = joined(own, 0, (part) => partOf(layer, part, "bias"));
      const { inputs } = own.stored.parts[0]!;
      return [
        { name: `${name}.lora_A.weight`, shape: [1, inputs], values: new Float32Array(inputs) },
        { name: `${name}.lora_B.weight`, shape: [values.length, 1], values: new Float32Array(values.length) },
        { name: `${name}.lora_B.bias`, shape: [values.length], values },
      ];
    });
    folders.set("bias", adapterFiles(biasDocument(source, places), tensors));
  }
  return folders;
}

type Places = readonly { readonly layer: number; readonly own: Edited }[];

/** Full names, since (IA)3 of PEFT has no list of layers. */
const fullNames = (names: StoredLayers, places: Places) =>
  places.map(({ layer, own }) => names.fullName(layer, own.stored));

const scaleDocument = ({ names, origin }: Source, places: Places): JsonObject => ({
  ...ia3Document({ targetModules: [], feedforwardModules: [] }, origin),
  target_modules: fullNames(names, places),
  fan_in_fan_out: names.transposed,
});

const biasDocument = ({ model, names, origin }: Source, places: Places): JsonObject => ({
  ...loraDocument(
    { rank: 1, alpha: 1, targetModules: [], layers: [], rankStabilized: false },
    model.architecture.stacks[0].layers,
    origin,
  ),
  target_modules: fullNames(names, places),
  layers_to_transform: null,
  lora_bias: true,
  fan_in_fan_out: names.transposed,
});
