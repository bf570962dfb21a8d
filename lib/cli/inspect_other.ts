/** `rubricate inspect` of an adapter of a method without a folder format of its own. */
import { join } from "node:path";
import { readAdapterText, readAdapterVectors } from "../adapter/files";
import { parseMethodConfig } from "../adapter/method_folder";
import { methods } from "../adapter/methods";
import { peftOrigin } from "../adapter/peft_method";
import { namedModules } from "../adapter/peft_modules";
import { RubricateError } from "../errors";
import { isObject, type JsonObject, parseJson } from "../files/json";
import { mostBytes, type ReadTensor } from "../files/safetensors";
import { limits } from "../limits";
import type { Notice } from "../notices";
import type { Invocation } from "./command";
import { listText } from "./inspect_method";
import { bytes, count, table } from "./text";

/** Numbers of all tensors at most: without the base, their sizes are not known. */
const mostNumbers = 1 << 28;

/** Whether a tensor has the entries of a sparse update, beside the values. */
const isIndex = (name: string, { dtype }: ReadTensor) => dtype === "I32" && name.endsWith(".index");

function sizesOf(tensors: ReadonlyMap<string, Float32Array>) {
  return [...tensors]
    .map(([name, values]) => ({
      name,
      numbers: values.length,
      rootMeanSquare: Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length),
    }))
    .sort((x, y) => x.name.localeCompare(y.name, "en", { numeric: true }));
}

/** What a folder says: of the method's own format, or of PEFT's, which records less. */
function headOf(document: JsonObject, path: string) {
  const { peft_type: type, target_modules } = document;
  if (type === undefined) return parseMethodConfig(document, path);
  const method = methods.find(({ peft }) => peft !== undefined && peft.type === type);
  const origin = peftOrigin(document, path);
  const fields = ["r", "lora_alpha", "feedforward_modules"].filter(
    (name) => Array.isArray(document[name]) || Number(document[name]) > 0,
  );
  const config: JsonObject = { target_modules, ...Object.fromEntries(fields.map((name) => [name, document[name]])) };
  return { kind: method?.kind ?? String(type).toLowerCase(), config, layers: undefined, hidden: undefined, ...origin };
}

/**
 * Whether a folder of PEFT names linear layers as a checkpoint stores them, as of GPT-2: which of the model's layers they are, is known
 * only with the base.
 */
export async function namesStoredLayers(dir: string): Promise<boolean> {
  const { text, path } = await readAdapterText(dir);
  const document = parseJson(text, path, "ERR_ADAPTER_FORMAT");
  if (!isObject(document) || document.peft_type === undefined) return false;
  const names = document.target_modules;
  const areNames = Array.isArray(names) && names.length > 0 && names.every((name) => typeof name === "string");
  return areNames && names.every((name) => /^[\w.]+$/.test(name)) && namedModules(names) === undefined;
}

/** Shows an adapter's configuration and the size of its tensors. `check`: loads it with --model, if given, for its notices. */
export async function inspectOther(
  { values, terminal }: Invocation,
  dir: string,
  check: () => Promise<readonly Notice[]>,
): Promise<void> {
  const { text, path } = await readAdapterText(dir);
  const document = parseJson(text, path, "ERR_ADAPTER_FORMAT");
  if (!isObject(document)) throw new RubricateError("ERR_ADAPTER_FORMAT", `Expected an object in ${path}`);
  const {
    kind,
    config,
    layers = null,
    hidden = null,
    base = null,
    tokenizer = null,
    rubricate = null,
  } = headOf(document, path);
  const own = await readAdapterVectors(
    dir,
    (tensors) =>
      new Map([...tensors].filter((one) => !isIndex(...one)).map(([name, { shape }]) => [name, shape] as const)),
    mostBytes(limits.maxTensorsRead, mostNumbers),
    document.peft_type === undefined ? ["F32"] : ["F32", "BF16", "F16"],
    isIndex,
  );
  const notices = await check();
  const tensors = sizesOf(own);
  const parameters = tensors.reduce((sum, { numbers }) => sum + numbers, 0);
  const checkedAgainst = values.model ?? null;
  const shown = { dir, kind, config, layers, hidden, parameters, bytes: parameters * 4, base, tokenizer, rubricate };
  terminal.event({ ...shown, checkedAgainst, notices, tensors });
  terminal.print(
    `adapter        ${join(dir, "")}, written by ${rubricate === null ? "PEFT" : `rubricate ${rubricate}`}`,
  );
  terminal.print(`method         ${kind}`);
  for (const [name, value] of Object.entries(config)) terminal.print(`  ${name.padEnd(12)} ${listText(value)}`);
  terminal.print(`parameters     ${count(parameters)}, ${bytes(parameters * 4)}`);
  const differs = notices.some(({ code }) => code === "RUBRICATE_BASE_MISMATCH");
  const fits = differs ? "which is not this model" : "which fits";
  const checked = values.model === undefined ? "not checked (give --model)" : fits;
  terminal.print(`base           ${base ? `${base.name}, ${checked}` : "not recorded"}`);
  terminal.print();
  const rows = tensors.map(({ name, numbers, rootMeanSquare }) => [
    name,
    count(numbers),
    rootMeanSquare.toPrecision(4),
  ]);
  for (const line of table([["tensor", "numbers", "root mean square"], ...rows])) terminal.print(line);
}
