import { resolve } from "node:path";
import { mergeAdapter, requireFree } from "../adapter/merge";
import type { Command } from "./command";
import { modelFlags } from "./flags";
import { loadAdapter, loadModel } from "./load";
import { verifyMerge } from "./merge_verify";
import { bytes } from "./text";

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
    overwrite: { help: "replaces a model or an adapter in --out" },
  },
  async run(invocation) {
    const { values, terminal, interrupts } = invocation;
    const out = values.out!;
    if (!values.overwrite) await requireFree(resolve(out)); // before the model is loaded
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
