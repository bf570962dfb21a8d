import { evaluate } from "../train/evaluate";
import { ownPeakMib } from "../train/meter";
import { type Command, UsageError } from "./command";
import { checkScoreFlags, evalScores } from "./eval_scores";
import { dataFlags, flags, modelFlags } from "./flags";
import { loadAdapter, loadData, loadModel, reportRows } from "./load";
import { plural } from "./text";

export const evalCommand: Command = {
  name: "eval",
  summary: "Reports the loss of a model, with or without an adapter, on data, or scores of its answers.",
  details:
    "The loss is the mean over all supervised tokens, in nats. With --metrics it reports instead BLEU, NIST, ROUGE-L and CIDEr of " +
    "the model's answers to the prompts of the data (the most likely token each time), or of the lines of --predictions, for " +
    "which no model is needed (docs/metrics.md). Rows with the same prompt are one input, and their completions its references; " +
    "inputs have the order of their first rows. Of a conversation the last message is the reference.",
  flags: [
    ...modelFlags,
    "adapter",
    "allowBaseMismatch",
    ...dataFlags,
    "batchSize",
    "metrics",
    "predictions",
    "writePredictions",
    "maxNewTokens",
    "stop",
  ],
  required: ["data"],
  meanings: { model: { placeholder: "DIR", help: `${flags.model.help}; not needed with --predictions` } },
  async run(invocation) {
    const { values, terminal, interrupts } = invocation;
    checkScoreFlags(values);
    if (values.model === undefined && values.predictions === undefined)
      throw new UsageError(`Expected --model ${flags.model.kind.placeholder}: ${flags.model.help}`);
    if (values.metrics) return evalScores(invocation);
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
      terminal.event({ loss, perplexity, tokens, accuracy, ...data.reportCounts, peakMemoryMib: await ownPeakMib() });
      terminal.print(`loss        ${loss.toFixed(6)}`);
      terminal.print(`perplexity  ${perplexity.toFixed(4)}`);
      terminal.print(`accuracy    ${(100 * accuracy).toFixed(2)} %`);
      terminal.print(`tokens      ${tokens}`);
    } finally {
      model.dispose();
    }
  },
};
