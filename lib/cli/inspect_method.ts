/** `rubricate inspect --method KIND --model DIR`: what a method trains on a base, from the base's config.json alone. */
import { stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { elementCount } from "../adapter/files";
import { configOf } from "../adapter/method_adapter";
import { MethodBase } from "../adapter/method_base";
import { methodOf } from "../adapter/methods";
import type { AdapterPlan } from "../adapter/plan";
import { RubricateError, reasonOf } from "../errors";
import { readJson } from "../files/json";
import { hubHint } from "../files/not_a_folder";
import type { ModelDescription } from "../model/architecture";
import { readConfig } from "../model/config_file";
import { describeModel } from "../model/families";
import type { Invocation } from "./command";
import { modelDir } from "./load";
import { checkMethodFlags, methodOptions } from "./method_flags";
import { bytes, count, plural } from "./text";

/** The description of a model: of a folder, or of a config.json alone. */
export async function descriptionAt(given: string): Promise<ModelDescription> {
  const path = resolve(given);
  const found = await stat(path).catch(async (cause: Error) => {
    throw new RubricateError(
      "ERR_FILE",
      `Expected a model's folder or a config.json at ${path}: ${reasonOf(cause)}${await hubHint(given)}`,
      { cause },
    );
  });
  const config = found.isDirectory() ? join(path, "config.json") : path;
  return describeModel(found.isDirectory() ? await readConfig(path, config) : await readJson(config), config);
}

/** What a method trains: its configuration and plan, or all weights with "full". */
function planOf(method: string, options: object, { architecture, tensors }: ModelDescription) {
  const own = methodOf(method);
  if (!own) return undefined;
  if (own.needsData)
    throw new RubricateError(
      "ERR_ARGUMENT",
      `Expected a method whose numbers do not depend on the training data but received ${method}: inspect --adapter counts those of an adapter`,
    );
  const base = new MethodBase(architecture, tensors);
  const config = configOf(own, options, base);
  const plan = own.plan(config, base);
  if (plan.indices?.some(({ count }) => count === undefined))
    throw new RubricateError(
      "ERR_ARGUMENT",
      `Expected options that say how many numbers ${method} trains, such as --share, since nothing of the weights is read here`,
    );
  return { config, plan };
}

const numbersOf = ({ parameters }: AdapterPlan) => parameters.reduce((sum, { shape }) => sum + elementCount(shape), 0);

/** Shows how many numbers a method trains on a base, and where. */
export async function inspectMethod({ values, terminal }: Invocation, method: string): Promise<void> {
  checkMethodFlags(method, values);
  const description = await descriptionAt(modelDir(values.model));
  const made = planOf(method, methodOptions(method, values), description);
  const parameters = made ? numbersOf(made.plan) : description.parameterCount;
  const tensors = made ? made.plan.parameters.length : description.tensors.length;
  const share = parameters / description.parameterCount;
  const config = made?.config ?? null;
  terminal.event({
    method,
    config,
    parameters,
    bytes: parameters * 4,
    tensors,
    baseParameters: description.parameterCount,
  });
  terminal.print(`method         ${method}`);
  for (const [name, value] of Object.entries(config ?? {})) terminal.print(`  ${name.padEnd(12)} ${listText(value)}`);
  terminal.print(`parameters     ${count(parameters)} in ${plural(tensors, "tensor")}, ${bytes(parameters * 4)}`);
  terminal.print(`of the base    ${(100 * share).toPrecision(3)} % of ${count(description.parameterCount)}`);
}

/** A value of a configuration for people; ascending numbers without gaps as a range. */
export function listText(value: unknown): string {
  if (!Array.isArray(value)) return typeof value === "object" ? JSON.stringify(value) : `${value}`;
  const isRange = value.length > 2 && value.every((one, at) => typeof one === "number" && one === value[0] + at);
  return isRange ? `${value[0]} to ${value.at(-1)}` : value.join(", ");
}
