/**
 * The names in delta_vector.pth of RED's reference implementation (github.com/mlwu22/RED, model.py): those of Hugging Face's
 * modules, as MODULE.delta_vector.activation_scaling and the like, each of shape [1, width].
 */
import { quoted, RubricateError } from "../errors";
import type { TorchHeader } from "../files/torch/tensors";
import type { Architecture } from "../model/architecture";
import { type RedAdapterConfig, type RedSite, type RedVariant, redSites, sitePath } from "./config";
import { inOrder, linearAt } from "./plan";

/** Parts of a site: their names here, and in the file. */
const parts = {
  scale: "activation_scaling",
  bias: "activation_bias",
  "ln.weight": "activation_ln.weight",
  "ln.bias": "activation_ln.bias",
} as const;
type Part = keyof typeof parts;

const variantParts: Readonly<Record<RedVariant, readonly Part[]>> = {
  all: ["scale", "bias"],
  scale: ["scale"],
  bias: ["bias"],
  ln: ["scale", "bias", "ln.weight", "ln.bias"],
};

/** How a family names the layers and the modules that one or several sites are part of. */
interface Naming {
  readonly layers: string;
  readonly modules: Readonly<Record<string, readonly RedSite[]>>;
}

const gpt2: Naming = {
  layers: "transformer.h.",
  modules: {
    "attn.c_attn": ["q", "k", "v"], // one after another in one vector
    "attn.c_proj": ["attention"],
    "mlp.c_fc": ["up"],
    "mlp.c_proj": ["ffn"],
  },
};

const llama: Naming = {
  layers: "model.layers.",
  modules: Object.fromEntries(redSites.map((site) => [sitePath(site), [site]])),
};

/** Families of the reference implementation by the names of their layers. */
const otherFamilies: readonly (readonly [string, RegExp])[] = [
  ["GPT-2", /^transformer\.h\./],
  ["LLaMA", /^model\.layers\./],
  ["RoBERTa, a family that is not supported", /^(roberta\.)?encoder\.layer\./],
  ["T5, a family that is not supported", /^(encoder|decoder)\.block\./],
];

/** Where the numbers of a vector of an adapter lie in the file. */
export interface ReferencePiece {
  readonly vector: string;
  readonly tensor: string;
  readonly start: number;
  readonly end: number;
}

/** What a file of the reference implementation has for a model. */
export interface ReferencePlan {
  readonly config: RedAdapterConfig;
  readonly pieces: readonly ReferencePiece[];
}

const keyPattern = /^(.*?\.)(0|[1-9]\d{0,4})\.(.+)\.delta_vector\.(activation_(?:scaling|bias|ln\.weight|ln\.bias))$/;
const partNames = Object.keys(parts) as readonly Part[];

const wrong = (path: string, what: string, found: string) =>
  new RubricateError("ERR_ADAPTER_FORMAT", `Expected ${what} in ${path} but ${found}`);

/** The error for a name that the model's family does not have. */
function unknownName(name: string, { family }: Architecture, naming: Naming, path: string): RubricateError {
  const other = otherFamilies.find(([, pattern]) => pattern.test(name));
  const modules = `${naming.layers}N.MODULE.delta_vector.activation_... with MODULE one of ${Object.keys(naming.modules).join(", ")}`;
  if (other && !name.startsWith(naming.layers))
    return wrong(path, `vectors for the model's family, ${family},`, `it has those of ${other[0]}: ${quoted(name)}`);
  return wrong(path, `names ${modules}`, `found ${quoted(name)}`);
}

/** The variant and the modules of the file's names. */
function partsAndModules(names: Iterable<string>, architecture: Architecture, naming: Naming, path: string) {
  const [{ layers: count }] = architecture.stacks;
  const found = new Set<Part>();
  const modules = new Set<string>();
  for (const name of names) {
    const [, layers, layer, module, part] = keyPattern.exec(name) ?? [];
    if (layers !== naming.layers || !Object.hasOwn(naming.modules, module!))
      throw unknownName(name, architecture, naming, path);
    if (Number(layer) >= count)
      throw wrong(path, `layers from 0 to ${count - 1}, those of the model,`, `found ${quoted(name)}`);
    found.add(partNames.find((one) => parts[one] === part)!);
    modules.add(module!);
  }
  return { found, modules: Object.keys(naming.modules).filter((module) => modules.has(module)) };
}

function variantOf(found: ReadonlySet<Part>, path: string): RedVariant {
  const variants = Object.entries(variantParts) as [RedVariant, readonly Part[]][];
  const match = variants.find(([, own]) => own.length === found.size && own.every((part) => found.has(part)));
  if (match) return match[0];
  const list = [...found].map((part) => parts[part]).join(", ");
  throw wrong(
    path,
    "activation_scaling, activation_bias or both, or both with activation_ln,",
    `it has ${list || "none"}`,
  );
}

/**
 * Compares a file's names and shapes with a model: each layer must have the same vectors, of the widths of the model.
 * @throws RubricateError ERR_ADAPTER_FORMAT naming the tensor
 */
export function referencePlan(
  headers: ReadonlyMap<string, TorchHeader>,
  architecture: Architecture,
  path: string,
): ReferencePlan {
  const naming = architecture.family === "gpt2" ? gpt2 : llama;
  if (headers.size === 0) throw wrong(path, "RED's vectors", "it has none");
  const { found, modules } = partsAndModules(headers.keys(), architecture, naming, path);
  const variant = variantOf(found, path);
  const sites = modules.flatMap((module) => naming.modules[module]!);
  if (variant === "ln" && modules.some((module) => naming.modules[module]!.length > 1))
    throw wrong(path, "no layer norm over q, k and v together", "it has one for attn.c_attn");
  const layers = Array.from({ length: architecture.stacks[0].layers }, (_, layer) => layer);
  const pieces: ReferencePiece[] = [];
  for (const layer of layers)
    for (const module of modules)
      for (const part of variantParts[variant]) {
        const tensor = `${naming.layers}${layer}.${module}.delta_vector.${parts[part]}`;
        const width = pushPieces(pieces, architecture, layer, naming.modules[module]!, part, tensor);
        requireWidth(headers.get(tensor), tensor, width, path);
      }
  return { config: { variant, sites: inOrder(sites), layers, hidden: architecture.hidden }, pieces };
}

/** @returns the width of the tensor */
function pushPieces(
  pieces: ReferencePiece[],
  architecture: Architecture,
  layer: number,
  sites: readonly RedSite[],
  part: Part,
  tensor: string,
): number {
  let end = 0;
  for (const site of sites) {
    const { name, outputs } = linearAt(architecture, layer, site);
    pieces.push({ vector: `${name}.${part}`, tensor, start: end, end: end + outputs });
    end += outputs;
  }
  return end;
}

function requireWidth(header: TorchHeader | undefined, tensor: string, width: number, path: string): void {
  if (!header) throw wrong(path, `a tensor ${tensor}, as for the other layers of the model,`, "found none");
  const shape = header.shape.join(", ");
  if (shape !== `1, ${width}` && shape !== `${width}`)
    throw wrong(path, `shape [1, ${width}] for ${tensor}, the model's width,`, `found [${shape}]`);
}
