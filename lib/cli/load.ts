/** Loads the model, the adapter and the data of a command. */
import type { Adapter } from "../adapter/adapter";
import { loadAdapter as load } from "../adapter/load";
import { Dataset } from "../data/dataset";
import { embeddedModelDir } from "../embedded";
import { LanguageModel } from "../model/model";
import { native } from "../native";
import type { Invocation } from "./command";
import { bytes, count, plural } from "./text";

/** The folder that --model names. */
export function modelDir(name: string | undefined): string {
  return name === undefined || name === "embedded" ? embeddedModelDir() : name;
}

/** Says what an interrupt has stopped. */
async function reportingStop<T>({ terminal, interrupts }: Invocation, doing: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (interrupts.signal.aborted && !interrupts.isQuiet) {
      terminal.progress.clear();
      terminal.note(`interrupted while ${doing}`);
    }
    throw error;
  }
}

/** Loads the model by --model, --device, --dtype and --threads. */
export async function loadModel(invocation: Invocation): Promise<LanguageModel> {
  const { values, terminal, interrupts } = invocation;
  if (values.threads !== undefined) native().setThreads(values.threads);
  terminal.progress.restart();
  const loading = LanguageModel.fromPretrained(modelDir(values.model), {
    device: values.device,
    dtype: values.dtype,
    signal: interrupts.signal,
    onNotice: ({ message }) => terminal.note(`notice: ${message}`),
    onProgress: ({ loadedBytes, totalBytes }) =>
      terminal.progress.show(loadedBytes / totalBytes, `loading ${bytes(loadedBytes)} of ${bytes(totalBytes)}`),
  });
  const model = await reportingStop(invocation, "loading the model", loading);
  terminal.progress.restart();
  return model;
}

/** Loads the adapter by --adapter, if given. */
export async function loadAdapter(
  { values, terminal }: Invocation,
  model: LanguageModel,
): Promise<Adapter | undefined> {
  if (values.adapter === undefined) return undefined;
  return load(values.adapter, model, {
    allowBaseMismatch: values.allowBaseMismatch,
    onNotice: ({ message }) => terminal.note(`notice: ${message}`),
  });
}

/** Tokenises a data file by the data flags. */
export async function loadData(invocation: Invocation, model: LanguageModel, path: string): Promise<Dataset> {
  const { values, terminal, interrupts } = invocation;
  terminal.progress.restart();
  const loading = Dataset.fromFile(path, {
    tokenizer: model.requireTokenizer(),
    format: values.format,
    loss: values.loss,
    strict: values.strict,
    vocabularySize: model.vocabularySize,
    maxLength: Math.min(values.maxLength ?? model.contextLength, model.contextLength),
    signal: interrupts.signal,
    onProgress: (progress) =>
      terminal.progress.show(progress.bytes / progress.totalBytes, `reading ${path}: ${plural(progress.rows, "row")}`),
  });
  const data = await reportingStop(invocation, `reading ${path}`, loading);
  terminal.progress.restart();
  return data;
}

const shownReasons = 5;
const shownLines = 3;
const keptReports = 100;

/** Reports rows that were skipped or truncated. */
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
    reasons: data.reportReasons,
    reports,
    notices: data.notices,
  });
  for (const notice of data.notices) terminal.note(`${path}: ${notice}`);
  if (skipped + truncated === 0) return;
  terminal.note(`${path}: ${plural(skipped, "row")} skipped, ${count(truncated)} truncated`);
  for (const { kind, reason, count: rows, lines } of data.reportReasons.slice(0, shownReasons)) {
    const listed = `${lines.slice(0, shownLines).join(", ")}${rows > shownLines ? ", ..." : ""}`;
    const which = rows === 1 ? `line ${listed}` : `${plural(rows, "row")} (lines ${listed})`;
    terminal.note(`  ${which} ${kind}: ${reason}`);
  }
  if (data.reportReasons.length > shownReasons) terminal.note("  ...");
}
