import type { GenerateOptions } from "../generate/options";
import type { GenerationPiece, GenerationResult } from "../generate/result";
import { returned } from "../generators";
import type { ChatMessage } from "../tokenizer/tokenizer";
import { type Command, type Invocation, UsageError } from "./command";
import { modelFlags, samplingFlags, type Values } from "./flags";
import { loadAdapter, loadModel } from "./load";
import { readStdin } from "./stdin";

export const generateCommand: Command = {
  name: "generate",
  summary: "Continues a prompt.",
  details: "With --chat the prompt is a user's message and the output is the assistant's answer.",
  flags: [
    ...modelFlags,
    "adapter",
    "allowBaseMismatch",
    "prompt",
    "chat",
    "system",
    "tokenIds",
    ...samplingFlags,
    "logProbabilities",
    "topLogProbabilities",
    "showSpecialTokens",
  ],
  defaults: { model: "embedded", seed: "random" },
  async run(invocation) {
    const { values, terminal, interrupts } = invocation;
    const asked = logProbabilitiesOf(invocation);
    const input = await inputOf(invocation);
    const model = await loadModel(invocation);
    try {
      const adapter = await loadAdapter(invocation, model);
      const skipSpecialTokens = values.showSpecialTokens !== true;
      const options = {
        ...input,
        ...samplingOf(values),
        ...asked,
        skipSpecialTokens,
        adapter,
        signal: interrupts.signal,
      };
      const pieces = model.generate(options);
      const plain = model.tokenizer === undefined;
      const write = ({ text, tokenId }: GenerationPiece) => terminal.write(plain ? `${tokenId} ` : text);
      const result = await writePieces(pieces, write, () => terminal.print());
      const { text, tokenIds, tokensPerSecond, finishReason, promptTokens, seed, logProbabilities } = result;
      const tokens = tokenIds.length;
      const given = { text, tokens, tokensPerSecond, finishReason, promptTokens, tokenIds, seed };
      terminal.event({ ...given, ...(logProbabilities && { logProbabilities }) });
      const isDrawn = seed !== null && values.seed === undefined;
      if (isDrawn && !terminal.json) terminal.note(`seed ${seed}: --seed ${seed} gives this text again`);
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
    const result = await returned(pieces, (piece) => {
      begun = true;
      write(piece);
    });
    begun = true; // also without a piece
    return result;
  } finally {
    if (begun) end();
  }
}

/** The options set by the sampling flags. */
export function samplingOf(values: Values) {
  const { maxNewTokens, temperature, topK, topP, minP, repetitionPenalty, stop, seed } = values;
  const { frequencyPenalty, presencePenalty, logitBias } = values;
  const penalties = { repetitionPenalty, frequencyPenalty, presencePenalty, logitBias };
  return { maxNewTokens, temperature, topK, topP, minP, ...penalties, stop, seed } satisfies GenerateOptions;
}

function logProbabilitiesOf({ values, terminal }: Invocation) {
  const { logProbabilities, topLogProbabilities } = values;
  if (topLogProbabilities !== undefined && !logProbabilities)
    throw new UsageError("Expected --log-probabilities to go with --top-log-probabilities");
  if (logProbabilities && !terminal.json) throw new UsageError("Expected --json to go with --log-probabilities");
  return { logProbabilities, topLogProbabilities } satisfies GenerateOptions;
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
