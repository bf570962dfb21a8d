import { createInterface } from "node:readline";
import { Readable } from "node:stream";
import type { Adapter } from "../adapter/adapter";
import { RubricateError } from "../errors";
import type { GenerationResult } from "../generate/result";
import { returned } from "../generators";
import type { LanguageModel } from "../model/model";
import type { ChatMessage } from "../tokenizer/tokenizer";
import { type Command, type Invocation, status } from "./command";
import { modelFlags, samplingFlags } from "./flags";
import { samplingOf } from "./generate";
import { loadAdapter, loadModel } from "./load";
import { boundedLines } from "./stdin";

const hint = "/reset clears the conversation, /exit or Ctrl-D ends the chat; Ctrl-C stops an answer.";

export const chatCommand: Command = {
  name: "chat",
  summary: "Chats with a model that has a chat template.",
  details: `Each line of stdin is a message. ${hint}`,
  flags: [...modelFlags, "adapter", "allowBaseMismatch", "system", ...samplingFlags],
  defaults: { model: "embedded", seed: "random" },
  run: chat,
};

async function chat(invocation: Invocation): Promise<number> {
  const model = await loadModel(invocation);
  try {
    model.requireTokenizer().checkChatTemplate();
    return await converse(invocation, model, await loadAdapter(invocation, model));
  } finally {
    model.dispose();
  }
}

async function converse(invocation: Invocation, model: LanguageModel, adapter: Adapter | undefined): Promise<number> {
  const { values, terminal, interrupts } = invocation;
  const { stdin, stdout } = terminal.streams;
  const isTty = stdin.isTTY === true && stdout.isTTY === true && !terminal.json;
  const input = isTty ? stdin : Readable.from(boundedLines(stdin));
  const reader = createInterface({ input, output: isTty ? stdout : undefined, terminal: isTty, prompt: "> " });
  // On a terminal readline receives Ctrl-C as a key.
  reader.on("SIGINT", () => interrupts.interrupt());
  const stop = () => reader.close();
  interrupts.signal.addEventListener("abort", stop, { once: true });
  const start: ChatMessage[] = values.system === undefined ? [] : [{ role: "system", content: values.system }];
  let messages = [...start];
  if (isTty) terminal.print(hint);
  try {
    if (isTty) reader.prompt();
    for await (const line of reader) {
      const said = line.trim();
      if (said === "/exit") break;
      if (said === "/reset") messages = [...start];
      else if (said.startsWith("/")) terminal.note(hint);
      else if (said !== "") messages = await turn(invocation, model, adapter, messages, said, start.length);
      if (interrupts.signal.aborted) break;
      if (isTty) reader.prompt();
    }
  } finally {
    interrupts.signal.removeEventListener("abort", stop);
    reader.close();
  }
  return interrupts.signal.aborted ? status.interrupted : status.done;
}

/** One message and its answer. @returns the conversation with both; the oldest exchanges are dropped if they no longer fit */
async function turn(
  invocation: Invocation,
  model: LanguageModel,
  adapter: Adapter | undefined,
  before: readonly ChatMessage[],
  said: string,
  kept: number,
): Promise<ChatMessage[]> {
  const { terminal } = invocation;
  let messages: ChatMessage[] = [...before, { role: "user", content: said }];
  for (;;) {
    try {
      const content = await answer(invocation, model, adapter, messages);
      return [...messages, { role: "assistant", content }];
    } catch (error) {
      if (!(error instanceof RubricateError) || error.code !== "ERR_CONTEXT_LENGTH") throw error;
      if (messages.length === kept + 1) {
        terminal.note(error.message);
        return [...before];
      }
      if (messages.length === before.length + 1) terminal.note("(the oldest messages were dropped to fit the context)");
      messages = [...messages.slice(0, kept), ...messages.slice(kept + 2)];
    }
  }
}

/** Writes the answer as it is generated. @returns the part that was written before it ended or was stopped */
async function answer(
  { values, terminal, interrupts }: Invocation,
  model: LanguageModel,
  adapter: Adapter | undefined,
  messages: readonly ChatMessage[],
): Promise<string> {
  const controller = new AbortController();
  const release = interrupts.take(() => controller.abort());
  const stop = () => controller.abort();
  interrupts.signal.addEventListener("abort", stop, { once: true });
  let written = "";
  let tokens = 0;
  let result: GenerationResult | undefined;
  try {
    const pieces = model.generate({ messages, adapter, ...samplingOf(values), signal: controller.signal });
    result = await returned(pieces, ({ text }) => {
      written += text;
      tokens++;
      terminal.write(text);
    });
  } catch (error) {
    if (!controller.signal.aborted || !(error instanceof RubricateError) || error.code !== "ERR_ABORTED") throw error;
  } finally {
    release();
    interrupts.signal.removeEventListener("abort", stop);
  }
  terminal.print();
  const { tokensPerSecond = null, finishReason = "stopped", seed = null } = result ?? {};
  terminal.event({ text: written, tokens: result?.tokenIds.length ?? tokens, tokensPerSecond, finishReason, seed });
  return written;
}
