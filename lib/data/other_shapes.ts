/** What Alpaca and ShareGPT say of their rows. */

const paired =
  "Below is an instruction that describes a task, paired with an input that provides further context. " +
  "Write a response that appropriately completes the request.";
const alone =
  "Below is an instruction that describes a task. Write a response that appropriately completes the request.";

/** The prompt that Stanford's Alpaca was trained with, for a model without a chat template. */
export function alpacaPrompt(instruction: string, input: string): string {
  return input === ""
    ? `${alone}\n\n### Instruction:\n${instruction}\n\n### Response:`
    : `${paired}\n\n### Instruction:\n${instruction}\n\n### Input:\n${input}\n\n### Response:`;
}

/** Roles by what ShareGPT's messages are from. */
export const shareGptRoles: ReadonlyMap<string, string> = new Map([
  ["human", "user"],
  ["user", "user"],
  ["gpt", "assistant"],
  ["chatgpt", "assistant"],
  ["assistant", "assistant"],
  ["system", "system"],
  ["tool", "tool"],
]);
