import { join } from "node:path";
import { configFile } from "../adapter/files";
import { RedAdapter } from "../adapter/red_adapter";
import { RubricateError } from "../errors";
import { present } from "../files/read";
import type { Command } from "./command";
import { modelFlags } from "./flags";
import { loadModel } from "./load";
import { bytes, count, plural } from "./text";

export const importCommand: Command = {
  name: "import",
  summary: "Makes an adapter of a delta_vector.pth of RED's reference implementation.",
  details:
    "The file is that of a LLaMA (or of another model with its names) or of a GPT-2. --model is the base that it was trained on: the file does not name it, so only its sizes are compared. Numbers are kept to the bit, and nothing in the file is executed.",
  flags: [...modelFlags, "from", "out", "overwrite"],
  required: ["model", "from", "out"],
  meanings: {
    out: { placeholder: "DIR", help: "the adapter's folder" },
    overwrite: { help: "replaces an adapter in the folder" },
  },
  async run(invocation) {
    const { values, terminal } = invocation;
    const { from, out } = values as { from: string; out: string };
    if (!values.overwrite && (await present(join(out, configFile))))
      throw new RubricateError("ERR_FILE", `Expected no adapter in ${out} but it has one; --overwrite replaces it`);
    const model = await loadModel(invocation);
    try {
      using adapter = await RedAdapter.fromReference(from, model);
      await adapter.savePretrained(out);
      const { variant, sites, layers } = adapter.config;
      const parameters = adapter.parameterCount;
      terminal.event({ adapter: out, from, model: values.model, variant, sites, layers, parameters });
      terminal.print(`adapter     ${out}`);
      terminal.print(`variant     ${variant}, at ${sites.join(", ")} of ${plural(layers.length, "layer")}`);
      terminal.print(`parameters  ${count(parameters)}, ${bytes(parameters * 4)}`);
    } finally {
      model.dispose();
    }
  },
};
