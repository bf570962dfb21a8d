/**
 * Token ids of a prompt or a conversation, without keeping the event loop: what is not certain to be quick, a thread does,
 * which a signal ends at once.
 */
import { DataWorker } from "../data/data_worker";
import type { Prompt } from "../data/worker_protocol";
import { invalid, RubricateError } from "../errors";
import { throwIfAborted } from "../job";
import { limits } from "../limits";
import { checkMessages } from "./chat_messages";
import { TemplateLimit } from "./template_interpreter";
import type { ChatMessage, Tokenizer } from "./tokenizer";
import { shareTokenizerFiles } from "./tokenizer_files";

/** @returns ids of the prompt without BOS and EOS; those of a conversation are the template's */
export function encodeAtOnce(tokenizer: Tokenizer, prompt: Prompt): Int32Array<ArrayBuffer> {
  if ("text" in prompt) return tokenizer.encode(prompt.text, { addSpecialTokens: false });
  return tokenizer.encodeChat(prompt.messages, { addGenerationPrompt: true });
}

/**
 * @param context tokens that fit into the model
 * @returns ids as `encodeAtOnce` gives them
 * @throws {RubricateError} ERR_CONTEXT_LENGTH where so many characters cannot fit; ERR_ABORTED; ERR_TEMPLATE; ERR_ARGUMENT
 */
export async function encodePrompt(
  tokenizer: Tokenizer,
  prompt: Prompt,
  context: number,
  signal: AbortSignal | undefined,
): Promise<Int32Array<ArrayBuffer>> {
  throwIfAborted(signal);
  const text = "text" in prompt ? prompt.text : quickText(tokenizer, prompt.messages);
  if (text === undefined) return inThread(tokenizer, prompt, signal);
  if (text.length > limits.tokenCharacters * context)
    throw new RubricateError(
      "ERR_CONTEXT_LENGTH",
      `Expected a prompt of at most ${limits.tokenCharacters * context} characters (${limits.tokenCharacters} for each token of the model's context) but received ${text.length}`,
    );
  if (text.length * tokenizer.growth > limits.quickCharacters) return inThread(tokenizer, { text }, signal);
  return encodeAtOnce(tokenizer, { text });
}

/** The conversation as the template writes it, or undefined where that may take long. */
function quickText(tokenizer: Tokenizer, messages: readonly ChatMessage[]): string | undefined {
  try {
    if (!isSmall(messages)) {
      checkMessages(messages, undefined); // before they are copied for the thread
      return undefined;
    }
    return tokenizer.renderChat(messages, { addGenerationPrompt: true, maxSteps: limits.quickTemplateSteps }).text;
  } catch (error) {
    if (!(error instanceof RubricateError))
      throw new RubricateError("ERR_ARGUMENT", `The messages cannot be read: ${String(error)}`, { cause: error });
    if (error.cause instanceof TemplateLimit) return undefined;
    throw error;
  }
}

/** Whether a value has few parts and characters; it looks at no more than that. */
function isSmall(value: unknown): boolean {
  let left = limits.quickCharacters;
  const parts: unknown[] = [value];
  for (let part = parts.pop(); left > 0 && part !== undefined; part = parts.pop()) {
    if (typeof part === "string") left -= part.length;
    else if (typeof part === "object" && part !== null) {
      if ((Array.isArray(part) && part.length > left) || ArrayBuffer.isView(part)) return false;
      for (const inner of Object.values(part)) if (inner !== undefined) parts.push(inner);
    }
    left -= 16;
  }
  return left > 0;
}

/** Threads that have built a tokenizer and wait for another prompt. */
const idle = new WeakMap<Tokenizer, { readonly worker: DataWorker; readonly end: NodeJS.Timeout }>();
const idleMs = 10_000;
const ended = () => new RubricateError("ERR_DISPOSED", "The prompt was encoded");

function takeWorker(tokenizer: Tokenizer): DataWorker {
  const waiting = idle.get(tokenizer);
  if (!waiting)
    return new DataWorker({ tokenizer: shareTokenizerFiles(tokenizer.files), options: undefined, path: undefined });
  idle.delete(tokenizer);
  clearTimeout(waiting.end);
  return waiting.worker;
}

function keepWorker(tokenizer: Tokenizer, worker: DataWorker): void {
  if (idle.has(tokenizer)) {
    void worker.close(ended());
    return;
  }
  const end = setTimeout(() => {
    idle.delete(tokenizer);
    void worker.close(ended());
  }, idleMs);
  idle.set(tokenizer, { worker, end: end.unref() });
}

async function inThread(
  tokenizer: Tokenizer,
  prompt: Prompt,
  signal: AbortSignal | undefined,
): Promise<Int32Array<ArrayBuffer>> {
  const worker = takeWorker(tokenizer);
  const aborted = () => new RubricateError("ERR_ABORTED", "The operation was aborted", { cause: signal?.reason });
  const stop = () => void worker.close(aborted());
  signal?.addEventListener("abort", stop, { once: true });
  try {
    const ids = await worker.call("encode", prompt);
    keepWorker(tokenizer, worker);
    return ids;
  } catch (error) {
    await worker.close(ended());
    if ((error as Error).name !== "DataCloneError") throw error;
    throw invalid("messages", "an array of plain data", "messages" in prompt ? prompt.messages : prompt);
  } finally {
    signal?.removeEventListener("abort", stop);
  }
}
