import { stat } from "node:fs/promises";
import { join } from "node:path";
import { configFile } from "../adapter/files";
import { RubricateError, systemReason } from "../errors";
import { hubHint } from "../files/not_a_folder";
import { present } from "../files/read";
import { kebab } from "./arguments";
import { type Command, type Invocation, UsageError } from "./command";
import { dataFlags, type FlagName, modelFlags } from "./flags";
import { inspectAdapter } from "./inspect_adapter";
import { inspectData } from "./inspect_data";
import { inspectMethod } from "./inspect_method";
import { inspectModel } from "./inspect_model";
import { methodFlags } from "./method_flags";

export const inspectCommand: Command = {
  name: "inspect",
  summary: "Shows the contents of a model, of an adapter, or of data as used in training.",
  details:
    "PATH is a model's folder, an adapter's folder, or a data file (the same as --model, --adapter and --data). With --model, an adapter is checked against its base. Data need --model; learned tokens are marked. With --method it shows how many numbers that method trains on --model, which may be a config.json alone.",
  positionals: ["PATH"],
  flags: [...modelFlags, "adapter", "allowBaseMismatch", ...dataFlags, "rows", "method", ...methodFlags],
  async run(invocation) {
    const given = await withPath(invocation);
    const { data, adapter, model, method } = given.values;
    if (method !== undefined) {
      if (data !== undefined || adapter !== undefined || model === undefined)
        throw new UsageError("Expected --model alone with --method: it shows what the method trains on that model");
      return inspectMethod(given, method);
    }
    for (const name of methodFlags)
      if (given.values[name] !== undefined) throw new UsageError(`Expected --${kebab(name)} only with --method`);
    if (data !== undefined) return inspectData(given, data);
    for (const name of [...dataFlags, "rows"] as const satisfies readonly FlagName[])
      if (given.values[name] !== undefined) throw new UsageError(`Expected --${kebab(name)} only with data`);
    if (adapter !== undefined) return inspectAdapter(given, adapter);
    if (model !== undefined) return inspectModel(given);
    throw new UsageError("Expected a PATH, --model DIR, --adapter DIR or --data FILE");
  },
};

/** Replaces PATH with the flag that it means. */
async function withPath(invocation: Invocation): Promise<Invocation> {
  const { positionals, values } = invocation;
  const path = positionals[0];
  if (path === undefined) return invocation;
  const kind = path === "embedded" ? "model" : await kindOf(path);
  if (values[kind] !== undefined) throw new UsageError(`Expected PATH or --${kind} but received both`);
  return { ...invocation, values: { ...values, [kind]: path } };
}

/** Files of torch.save. */
const torchName = /\.(pth|pt)$/i;

async function kindOf(path: string): Promise<"model" | "adapter" | "data"> {
  const found = await stat(path).catch(async (cause: Error) => {
    const reason = `${systemReason(cause, path)}${await hubHint(path)}`;
    throw new RubricateError("ERR_FILE", `Expected a folder or a file at ${path}: ${reason}`, { cause });
  });
  if (!found.isDirectory()) {
    if (torchName.test(path))
      throw new UsageError(
        `Expected a model, an adapter or data but ${path} is named as a file of torch.save; if it is a delta_vector.pth of ` +
          `RED's reference implementation, "rubricate import --model DIR --from ${path} --out DIR" makes an adapter of it`,
      );
    return "data";
  }
  if (!(await present(join(path, configFile)))) return "model";
  if (await present(join(path, "config.json")))
    throw new UsageError(
      `Expected a model or an adapter at ${path} but it has both: give --model DIR or --adapter DIR`,
    );
  return "adapter";
}
