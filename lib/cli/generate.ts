import type { GenerateOptions, GenerationPiece, GenerationResult } from "../generate/generation";
import type { ChatMessage } from "../tokenizer/tokenizer";
import { type Command, type Invocation, UsageError } from "./command";
import { modelFlags, samplingFlags, type Values } from "./flags";
import { loadAdapter, loadModel } from "./load";
import { readStdin } from "./stdin";

export const generateCommand: Command = {
  name: "generate",
  summary: "Continues a prompt.",
  details: "With --chat the prompt is a user's message and the output is the assistant's answer.",
  flags: [...modelFlags, "adapter", "allowBaseMismatch", "prompt", "chat", "system", "tokenIds", ...samplingFlags],
  defaults: { model: "embedded", seed: "0" },
  async run(invocation) {
    const { values, terminal, interrupts } = invocation;
    const input = await inputOf(invocation);
    const model = await loadModel(invocation);
    try {
      const adapter = await loadAdapter(invocation, model);
      const pieces = model.generate({ ...input, ...samplingOf(values), adapter, signal: interrupts.signal });
      const plain = model.tokenizer === undefined;
      const write = ({ text, tokenId }: GenerationPiece) => terminal.write(plain ? `${tokenId} ` : text);
      const { text, tokenIds, tokensPerSecond, finishReason, promptTokens } = await writePieces(pieces, write, () =>
        terminal.print(),
      );
      terminal.event({ text, tokens: tokenIds.length, tokensPerSecond, finishReason, promptTokens, tokenIds });
    } finally {
      model.dispose();
    }
  },
};

/** Writes the pieces as they are generated, and ends the line also when generation is stopped. */
async function writePieces(
  pieces: AsyncGenerator<GenerationPiece, GenerationResult, void>,
  write: (piece: GenerationPiece) => void,
  end: () => void,
): Promise<GenerationResult> {
  let begun = false;
  try {
    for (;;) {
      const next = await pieces.next();
      begun = true;
      if (next.done) return next.value;
      write(next.value);
    }
  } finally {
    if (begun) end();
  }
}

/** The options set by the sampling flags. */
export function samplingOf(values: Values) {
  const { maxNewTokens, temperature, topK, topP, minP, repetitionPenalty, stop, seed } = values;
  return { maxNewTokens, temperature, topK, topP, minP, repetitionPenalty, stop, seed } satisfies GenerateOptions;
}

async function inputOf({ values, terminal, interrupts }: Invocation): Promise<GenerateOptions> {
  const { chat, system, tokenIds } = values;
  const refuse = (what: string) => new UsageError(`Expected ${what}`);
  if (tokenIds !== undefined) {
    if (values.prompt !== undefined || chat) throw refuse("--token-ids without --prompt and --chat");
    return { tokenIds };
  }
  if (system !== undefined && !chat) throw refuse("--chat to go with --system");
  const { stdin } = terminal.streams;
  let { prompt } = values;
  if (prompt === undefined) {
    if (stdin.isTTY) throw refuse("--prompt TEXT, or a text on stdin");
    prompt = await readStdin(stdin, interrupts.signal);
    if (prompt === "") throw refuse("--prompt TEXT, or a text on stdin, but received nothing");
  }
  if (!chat) return { prompt };
  const messages: ChatMessage[] = [{ role: "user", content: prompt }];
  if (system !== undefined) messages.unshift({ role: "system", content: system });
  return { messages };
}
