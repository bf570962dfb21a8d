import { evaluate } from "../train/evaluate";
import type { Command } from "./command";
import { dataFlags, modelFlags } from "./flags";
import { loadAdapter, loadData, loadModel, reportRows } from "./load";
import { plural } from "./text";

export const evalCommand: Command = {
  name: "eval",
  summary: "Reports the loss of a model, with or without an adapter, on data.",
  details: "The loss is the mean over all supervised tokens, in nats.",
  flags: [...modelFlags, "adapter", "allowBaseMismatch", ...dataFlags, "batchSize"],
  required: ["model", "data"],
  async run(invocation) {
    const { values, terminal, interrupts } = invocation;
    const model = await loadModel(invocation);
    try {
      const adapter = await loadAdapter(invocation, model);
      await using data = await loadData(invocation, model, values.data!);
      const { progress } = terminal;
      const { loss, perplexity, accuracy, tokens } = await evaluate(model, data, {
        adapter,
        batchSize: values.batchSize,
        signal: interrupts.signal,
        onProgress: ({ done, total }) => progress.show(done / total, `evaluated ${done} of ${plural(total, "row")}`),
      });
      if (!terminal.json) reportRows(invocation, values.data!, data);
      terminal.event({ loss, perplexity, tokens, accuracy, ...data.reportCounts });
      terminal.print(`loss        ${loss.toFixed(6)}`);
      terminal.print(`perplexity  ${perplexity.toFixed(4)}`);
      terminal.print(`accuracy    ${(100 * accuracy).toFixed(2)} %`);
      terminal.print(`tokens      ${tokens}`);
    } finally {
      model.dispose();
    }
  },
};
