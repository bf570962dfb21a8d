/** Whether an adapter may be served. */
import { basename } from "node:path";
import type { Adapter } from "../adapter/adapter";
import { quoted, RubricateError } from "../errors";
import type { LanguageModel } from "../model/model";

/** An adapter of another model object is served if that has the same weights. */
export async function requireSameBase(model: LanguageModel, adapter: Adapter): Promise<void> {
  try {
    adapter.nativeFor(model);
    return;
  } catch (error) {
    if (!(error instanceof RubricateError) || error.code !== "ERR_FOREIGN") throw error;
  }
  const [own, base] = [await model.fingerprint(), await adapter.base()];
  const part = (["architecture", "weights"] as const).find((name) => own[name] !== base[name]);
  if (part !== undefined)
    throw new RubricateError(
      "ERR_BASE_MISMATCH",
      `Expected an adapter of ${model.dir} (${part} ${own[part]}) but received one of ${quoted(basename(adapter.baseDir))} (${part} ${base[part]})`,
    );
}
