/** What several commands begin with: the model, the adapter, the data. */
import { RedAdapter } from "../adapter/red_adapter";
import { Dataset } from "../data/dataset";
import { embeddedModelDir } from "../embedded";
import { LlamaModel } from "../model/model";
import { native } from "../native";
import type { Invocation } from "./command";
import { bytes, count, plural } from "./text";

/** The folder that --model means. */
function modelDir(name: string | undefined): string {
  return name === undefined || name === "embedded" ? embeddedModelDir() : name;
}

/** Loads what --model, --device, --dtype and --threads say. */
export async function loadModel({ values, terminal, interrupts }: Invocation): Promise<LlamaModel> {
  if (values.threads !== undefined) native().setThreads(values.threads);
  terminal.progress.restart();
  const model = await LlamaModel.fromPretrained(modelDir(values.model), {
    device: values.device,
    dtype: values.dtype,
    signal: interrupts.signal,
    onProgress: ({ loadedBytes, totalBytes }) =>
      terminal.progress.show(loadedBytes / totalBytes, `loading ${bytes(loadedBytes)} of ${bytes(totalBytes)}`),
  });
  terminal.progress.restart();
  return model;
}

/** Loads what --adapter says, if anything. */
export async function loadAdapter({ values }: Invocation, model: LlamaModel): Promise<RedAdapter | undefined> {
  if (values.adapter === undefined) return undefined;
  return RedAdapter.fromPretrained(values.adapter, model, { allowBaseMismatch: values.allowBaseMismatch });
}

/** Tokenises a JSONL file as the flags say. */
export async function loadData(
  { values, terminal, interrupts }: Invocation,
  model: LlamaModel,
  path: string,
): Promise<Dataset> {
  terminal.progress.restart();
  const data = await Dataset.fromJsonl(path, {
    tokenizer: model.requireTokenizer(),
    format: values.format,
    loss: values.loss,
    maxLength: Math.min(values.maxLength ?? model.contextLength, model.contextLength),
    signal: interrupts.signal,
    onProgress: (progress) =>
      terminal.progress.show(progress.bytes / progress.totalBytes, `reading ${path}: ${plural(progress.rows, "row")}`),
  });
  terminal.progress.restart();
  return data;
}

const shownReports = 5;
const keptReports = 100;

/** Tells of rows that were left out or cut off. */
export function reportRows({ terminal }: Invocation, path: string, data: Dataset): void {
  const { skipped, truncated } = data.reportCounts;
  const reports = data.reports.slice(0, keptReports);
  terminal.event({
    type: "data",
    path,
    rows: data.length,
    tokens: data.tokenCount,
    supervisedTokens: data.supervisedTokenCount,
    skipped,
    truncated,
    reports,
    notices: data.notices,
  });
  for (const notice of data.notices) terminal.note(`${path}: ${notice}`);
  if (skipped + truncated === 0) return;
  terminal.note(`${path}: ${plural(skipped, "row")} left out, ${count(truncated)} cut off`);
  for (const { line, kind, reason } of reports.slice(0, shownReports))
    terminal.note(`  line ${line} ${kind === "skipped" ? "left out" : "cut off"}: ${reason}`);
  if (skipped + truncated > shownReports) terminal.note("  ...");
}
