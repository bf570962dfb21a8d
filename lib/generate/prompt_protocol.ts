import type { ChatMessage } from "../template/chat_messages";
import type { TokenizerParts } from "../tokenizer/parts";

/** A text, which may go on with one before it; or a conversation with the prompt for an answer. */
export type Prompt =
  | { readonly text: string; readonly continues?: boolean }
  | { readonly messages: readonly ChatMessage[] };

/** What the thread that encodes prompts is started with. */
export interface PromptWorkerStart {
  readonly tokenizer: TokenizerParts;
}

/** What can be asked of it. */
export interface PromptCalls {
  /** Ids of a prompt for a context of so many tokens. */
  encode: {
    argument: {
      readonly prompt: Exclude<Prompt, { readonly messages: unknown }> | { readonly messagesJson: string };
      readonly context: number;
    };
    result: Int32Array<ArrayBuffer>;
  };
}
