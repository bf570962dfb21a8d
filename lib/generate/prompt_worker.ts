/** The thread that encodes long prompts. */
import "../background_thread";
import { workerData } from "node:worker_threads";
import { Tokenizer } from "../tokenizer/tokenizer";
import { answerCalls } from "../worker_calls";
import { encodeAtOnce } from "./prompt";
import type { PromptCalls, PromptWorkerStart } from "./prompt_protocol";

/** Wraps the tables of the thread that started this one. */
const tokenizer = Tokenizer.ofParts((workerData as PromptWorkerStart).tokenizer);

answerCalls<PromptCalls>({
  encode({ prompt, context }) {
    const given = "text" in prompt ? prompt : { messages: JSON.parse(prompt.messagesJson) };
    const ids = encodeAtOnce(tokenizer, given, context);
    return [ids, [ids.buffer]];
  },
});
