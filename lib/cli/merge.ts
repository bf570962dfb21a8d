import { resolve } from "node:path";
import { mergeAdapter, requireFree, requireOtherThanModel } from "../adapter/merge";
import { RubricateError } from "../errors";
import { adapterFolders, isOneOf } from "../files/folder_identity";
import type { Command } from "./command";
import { modelFlags, type Values } from "./flags";
import { loadAdapter, loadModel, modelDir } from "./load";
import { verifyMerge } from "./merge_verify";
import { bytes } from "./text";

/** Checks --out before the model is loaded; the merge checks it again. @throws RubricateError ERR_FILE */
async function checkOutput({ out, model, adapter, overwrite }: Values): Promise<void> {
  const folder = resolve(out!);
  await requireOtherThanModel(folder, modelDir(model));
  if (await isOneOf(folder, await adapterFolders(adapter!)))
    throw new RubricateError(
      "ERR_FILE",
      `Expected a folder other than the adapter's for the merged model but ${folder} has files of the adapter at ${adapter}, ` +
        "which the merge would overwrite; choose another folder (--overwrite does not allow it)",
    );
  if (!overwrite) await requireFree(folder);
}

export const mergeCommand: Command = {
  name: "merge",
  summary: "Writes a model's folder with an adapter merged into the weights.",
  details:
    "The folder needs no adapter: transformers and other servers load it. Weights are merged in fp32 and rounded once. A layer norm of an adapter, and a bias for which the family has no place, cannot be merged.",
  flags: [...modelFlags, "adapter", "allowBaseMismatch", "out", "overwrite", "verify"],
  required: ["model", "adapter", "out"],
  defaults: { device: "cpu" },
  meanings: {
    out: { placeholder: "DIR", help: "folder of the merged model" },
    dtype: { placeholder: "auto|float32|bfloat16", help: "dtype of the merged weights" },
    overwrite: { help: "replaces a model or an adapter in --out, other than those that are merged" },
  },
  async run(invocation) {
    const { values, terminal, interrupts } = invocation;
    const out = values.out!;
    await checkOutput(values);
    // The weights are merged as they are stored: the dtype of the computation does not matter.
    const loading = { ...invocation, values: { ...values, device: values.device ?? "cpu", dtype: undefined } };
    const model = await loadModel(loading);
    try {
      const adapter = (await loadAdapter(invocation, model))!;
      await mergeAdapter(model, adapter, out, {
        dtype: values.dtype,
        overwrite: values.overwrite,
        signal: interrupts.signal,
        onProgress: ({ writtenBytes, totalBytes }) =>
          terminal.progress.show(writtenBytes / totalBytes, `wrote ${bytes(writtenBytes)} of ${bytes(totalBytes)}`),
      });
    } finally {
      model.dispose();
    }
    terminal.progress.clear();
    terminal.event({ type: "saved", path: out });
    terminal.print(`The merged model is in ${out}.`);
    if (values.verify) await verifyMerge(loading);
  },
};
