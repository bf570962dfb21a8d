import { resolve } from "node:path";
import { exportPeft } from "../adapter/peft_export";
import { RubricateError } from "../errors";
import { adapterFolders, isOneOf } from "../files/folder_identity";
import type { Command } from "./command";
import { modelFlags } from "./flags";
import { loadAdapter, loadModel } from "./load";

export const exportCommand: Command = {
  name: "export",
  summary: "Writes an adapter as PEFT loads it.",
  details:
    "For LoRA, (IA)3 and LN tuning it is one folder, also for GPT-2 and Phi-3, whose fused layers PEFT updates. For RED it is two, DIR/scale and DIR/bias: PEFT loads and merges the first, then loads the second. PEFT has no form for other methods, nor for RED's variant with a layer norm.",
  flags: [...modelFlags.filter((name) => name !== "dtype"), "adapter", "allowBaseMismatch", "out", "overwrite"],
  required: ["model", "adapter", "out"],
  defaults: { device: "cpu" },
  meanings: {
    out: { placeholder: "DIR", help: "the exported adapter's folder" },
    overwrite: { help: "replaces a model or an adapter in --out, other than the model" },
  },
  async run(invocation) {
    const { values, terminal } = invocation;
    if (await isOneOf(resolve(values.out!), await adapterFolders(values.adapter!)))
      throw new RubricateError(
        "ERR_FILE",
        `Expected a folder other than the adapter's for --out but it has files of the adapter at ${values.adapter}; ` +
          "choose another folder (--overwrite does not allow it)",
      );
    const model = await loadModel({ ...invocation, values: { ...values, device: values.device ?? "cpu" } });
    try {
      const adapter = (await loadAdapter(invocation, model))!;
      const folders = await exportPeft(model, adapter, values.out!, { overwrite: values.overwrite === true });
      terminal.event({ type: "exported", folders });
      if (folders.length === 1) return terminal.print(`The adapter for PEFT is in ${folders[0]}.`);
      terminal.print("PEFT loads these, one after the other; all but the last are merged (merge_and_unload):");
      for (const folder of folders) terminal.print(`  ${folder}`);
    } finally {
      model.dispose();
    }
  },
};
