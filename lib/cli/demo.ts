import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { readAdapterConfig, tensorFile } from "../adapter/files";
import { RedAdapter } from "../adapter/red_adapter";
import { Dataset } from "../data/dataset";
import { type DemoPair, loadDemoPairs } from "../embedded";
import { printable } from "../errors";
import { requireNoModel } from "../files/model_folder";
import { present } from "../files/read";
import type { LanguageModel } from "../model/model";
import { evaluate } from "../train/evaluate";
import { requireNoResults } from "../train/output_folder";
import { runFile } from "../train/output_links";
import { Trainer } from "../train/trainer";
import { type Command, type Invocation, UsageError } from "./command";
import { modelFlags } from "./flags";
import { commandLine, flagsOf, pathWord, tryLine } from "./hints";
import { loadModel } from "./load";
import type { Terminal } from "./terminal";
import { bytes, count, duration, lines, padded, plural } from "./text";
import { stepWords } from "./train";

const defaults = { out: "rubricate-demo", epochs: 15, learningRate: 1e-2, batchSize: 8, seed: 42, maxNewTokens: 16 };
/** All sites of the paper: the examples need attention to find the decisive word. */
const sites = ["ffn", "attention", "q", "k", "v"] as const;
/** Number of held-out prompts to show. */
const shownPrompts = 8;
/** Number of lines that show the loss. */
const lossLines = 8;
const narrow = 72;

export const demoCommand: Command = {
  name: "demo",
  summary: "Trains a small model to sort letters by office in about half a minute, and tests it on held-out letters.",
  details:
    "The model and the examples are part of the package: nothing is downloaded. Answers and held-out losses are of examples that are not in the training data.",
  flags: [...modelFlags, "out", "overwrite", "epochs", "learningRate", "batchSize", "seed", "maxNewTokens"],
  defaults: {
    model: "embedded",
    out: defaults.out,
    epochs: String(defaults.epochs),
    learningRate: String(defaults.learningRate),
    seed: String(defaults.seed),
    maxNewTokens: String(defaults.maxNewTokens),
  },
  async run(invocation) {
    if (invocation.values.learningRate === "sweep")
      throw new UsageError(
        'Expected a number for --learning-rate but received "sweep": the demo has no data to compare rates with',
      );
    const model = await loadModel(invocation);
    try {
      await demonstrate(invocation, model);
    } finally {
      model.dispose();
    }
  },
};

/** A held-out prompt with its answers. */
interface Sample {
  readonly prompt: string;
  readonly before: string;
  readonly after: string;
}

/** A pair as a row: a chat if the model has a chat template. */
function rowOf(model: LanguageModel, { prompt, completion }: DemoPair): object {
  if (model.requireTokenizer().chatTemplate === undefined) return { prompt: `${prompt}\n`, completion };
  return {
    messages: [
      { role: "user", content: prompt },
      { role: "assistant", content: completion },
    ],
  };
}

async function demonstrate(invocation: Invocation, model: LanguageModel): Promise<void> {
  const { values, terminal, interrupts } = invocation;
  const { signal } = interrupts;
  const out = values.out ?? defaults.out;
  await requireNoModel(out); // or saving would fail at the end
  const pairs = loadDemoPairs();
  const dataOf = (some: readonly DemoPair[]) =>
    Dataset.fromRows(
      some.map((pair) => rowOf(model, pair)),
      { tokenizer: model.requireTokenizer(), maxLength: model.contextLength, signal },
    );
  await using train = await dataOf(pairs.train);
  await using heldOut = await dataOf(pairs.heldOut);
  const adapter = RedAdapter.create(model, { sites });
  if (!values.overwrite) await requireOwnFolder(out, adapter);
  terminal.print(`A language model of ${count(model.parameterCount)} parameters learns which office answers a letter:`);
  terminal.print(`${plural(train.length, "example")} to learn from, ${plural(heldOut.length, "other")} to test with.`);
  terminal.print(`Training changes ${count(adapter.parameterCount)} numbers.`);
  terminal.print();
  const prompts = pairs.heldOut.map(({ prompt }) => prompt);
  const before = await evaluate(model, heldOut, { adapter, signal });
  const answersBefore = await answers(invocation, model, adapter, prompts);
  const { losses, seconds, steps } = await learn(invocation, model, adapter, train);
  const after = await evaluate(model, heldOut, { adapter, signal });
  const answersAfter = await answers(invocation, model, adapter, prompts);
  await adapter.savePretrained(out);
  const right = (given: readonly string[]) =>
    given.filter((answer, at) => answer === pairs.heldOut[at]!.completion).length;
  const exactMatch = { before: right(answersBefore), after: right(answersAfter), of: prompts.length };
  // One less than an eighth, because the examples are sorted by the eight offices.
  const shown = Array.from({ length: shownPrompts }, (_, i) => i * (Math.floor(prompts.length / shownPrompts) - 1));
  const samples = shown.map((at) => ({ prompt: prompts[at]!, before: answersBefore[at]!, after: answersAfter[at]! }));
  const fallPercent = 100 * (1 - after.loss / before.loss);
  const adapterBytes = (await stat(join(out, tensorFile))).size;
  const modelBytes = await weightBytes(model.dir);
  terminal.event({
    exactMatch,
    heldOutLoss: { before: before.loss, after: after.loss, fallPercent },
    trainLosses: losses,
    samples,
    adapter: { path: out, parameters: adapter.parameterCount, bytes: adapterBytes },
    model: { parameters: model.parameterCount, bytes: modelBytes },
    adapterShare: adapterBytes / modelBytes,
    steps,
    seconds,
  });
  showSamples(terminal, samples);
  const share = (found: number) => `${((100 * found) / exactMatch.of).toFixed(1)} %`;
  terminal.print(
    `Right answers  ${share(exactMatch.before)} before, ${share(exactMatch.after)} after, of ${exactMatch.of} held-out letters`,
  );
  terminal.print(
    `Held-out loss  ${before.loss.toFixed(1)} before, ${after.loss.toFixed(2)} after: ${fallPercent.toFixed(1)} % less`,
  );
  terminal.print(`Training       ${plural(steps, "step")} in ${duration(seconds)}`);
  terminal.print(
    `Adapter        ${count(adapterBytes)} bytes in ${out}, ${((100 * adapterBytes) / modelBytes).toFixed(2)} % of the model's ${bytes(modelBytes)}`,
  );
  showNext(invocation, out, prompts[0]!, model.requireTokenizer().chatTemplate !== undefined);
}

/** An earlier demo's adapter is replaced, another one is not. @throws RubricateError ERR_FILE, ERR_CHECKPOINT */
async function requireOwnFolder(out: string, adapter: RedAdapter): Promise<void> {
  const layout = (config: object | undefined) => JSON.stringify({ ...config, rubricate: undefined });
  const earlier = await readAdapterConfig(out).catch(() => undefined);
  const isDemo =
    layout(earlier) === layout(await adapter.fileConfig()) && !(await present(join(out, runFile)).catch(() => true));
  if (!isDemo) await requireNoResults(out);
}

/** Trains and shows the loss. @returns the loss of every step */
async function learn(
  { values, terminal, interrupts }: Invocation,
  model: LanguageModel,
  adapter: RedAdapter,
  train: Dataset,
): Promise<{ losses: number[]; seconds: number; steps: number }> {
  const trainer = new Trainer({
    model,
    adapter,
    train,
    learningRate: values.learningRate ?? defaults.learningRate,
    epochs: values.epochs ?? defaults.epochs,
    batchSize: values.batchSize ?? defaults.batchSize,
    seed: values.seed ?? defaults.seed,
  });
  const losses: number[] = [];
  let shown = 0;
  let highest = 0;
  terminal.progress.restart();
  const events = trainer.run({ signal: interrupts.signal });
  for (;;) {
    const next = await events.next();
    if (next.done) {
      terminal.progress.restart();
      terminal.print();
      return { losses, seconds: next.value.seconds, steps: next.value.steps };
    }
    const event = next.value;
    if (event.type !== "step") continue;
    losses.push(event.loss);
    const due = (event.step * lossLines) / event.totalSteps >= Math.floor((shown * lossLines) / event.totalSteps) + 1;
    if (due || event.step === event.totalSteps) {
      const recent = losses.slice(shown);
      const mean = recent.reduce((sum, loss) => sum + loss, 0) / recent.length;
      highest = Math.max(highest, mean);
      const bar = "#".repeat(Math.round((mean / highest) * Math.max(10, Math.min(50, terminal.width - 30))));
      terminal.print(`step ${String(event.step).padStart(5)}  loss ${mean.toFixed(3)}  ${bar}`);
      shown = losses.length;
    }
    if (terminal.streams.stderr.isTTY) terminal.progress.show(event.step / event.totalSteps, stepWords(event));
  }
}

/** Greedy answers to the prompts. */
async function answers(
  { values, interrupts }: Invocation,
  model: LanguageModel,
  adapter: RedAdapter,
  prompts: readonly string[],
): Promise<string[]> {
  const isChat = model.requireTokenizer().chatTemplate !== undefined;
  const texts: string[] = [];
  for (const prompt of prompts) {
    const { text, finishReason } = await model.complete({
      ...(isChat ? { messages: [{ role: "user", content: prompt }] } : { prompt: `${prompt}\n` }),
      adapter,
      maxNewTokens: values.maxNewTokens ?? defaults.maxNewTokens,
      signal: interrupts.signal,
    });
    texts.push(`${text.trim()}${finishReason === "length" ? "…" : ""}`);
  }
  return texts;
}

/** Shows prompts with the answers before and after training in columns, or one below the other on a narrow terminal. */
function showSamples(terminal: Terminal, samples: readonly Sample[]): void {
  // Escaped before the layout, because escapes are longer; a tab has no fixed width.
  const plain = (text: string) => printable(text).replaceAll("\t", " ");
  const rows = samples.map(({ prompt, before, after }) => [plain(prompt), plain(before), plain(after)] as const);
  const width = Math.min(terminal.width, 120);
  const longest = (column: 0 | 2) => Math.max(...rows.map((row) => row[column].length));
  const first = Math.min(longest(0), Math.floor(width / 2));
  const last = Math.min(longest(2), Math.floor(width / 4));
  const columns = [first, width - 4 - first - last, last] as const;
  if (width < narrow) {
    for (const [prompt, before, after] of rows) {
      terminal.printStyled(terminal.styled(`> ${prompt}`, "bold"));
      for (const line of lines(`before: ${before}`, width)) terminal.print(line);
      for (const line of lines(`after: ${after}`, width)) terminal.print(line);
    }
    terminal.print();
    return;
  }
  const joinCells = (cells: readonly string[]) =>
    columns
      .map((column, at) => padded(cells[at]!, column))
      .join("  ")
      .trimEnd();
  terminal.printStyled(terminal.styled(joinCells(["held-out letter", "before", "after"]), "bold"));
  for (const row of rows) {
    const cells = columns.map((column, at) => lines(row[at]!, column));
    for (let line = 0; line < Math.max(...cells.map((cell) => cell.length)); line++)
      terminal.print(joinCells(cells.map((cell) => cell[line] ?? "")));
  }
  terminal.print();
}

function showNext({ values, terminal }: Invocation, out: string, prompt: string, isChat: boolean): void {
  const trained = { model: values.model ?? "embedded", adapter: out };
  terminal.print();
  terminal.print("Next:");
  const generate = ["generate", ...flagsOf(trained), ...(isChat ? ["--chat"] : []), "--prompt", prompt];
  terminal.print(`  ${commandLine(generate)}`);
  if (isChat) terminal.print(`  ${tryLine(trained, true)}`);
  terminal.print(`  ${commandLine(["inspect", pathWord(out)])}`);
  const own = ["train", "--model", "DIR", "--data", "train.jsonl", "--eval", "0.1", "--out", "my-adapter"];
  terminal.print(`  ${commandLine(own)}`);
}

async function weightBytes(dir: string): Promise<number> {
  let total = 0;
  for (const name of await readdir(dir)) if (name.endsWith(".safetensors")) total += (await stat(join(dir, name))).size;
  return total;
}
