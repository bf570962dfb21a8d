/** A generation: from a call's options to token ids, and from the tokens of the model's engine to text. */
import { Answer } from "./answer";
import type { CheckedCall } from "./options";
import { promptIds } from "./prompt_ids";
import { leave, nextToken, type RequestModel, type StartedRequest, started } from "./request";
import { type GenerationPiece, type GenerationResult, resultOf } from "./result";
import { type Served, Work } from "./served";

/** Tokens of a prompt whose text may matter to what follows: all of a run of bytes. */
const promptEnd = 1 << 14;

interface Generation extends StartedRequest {
  readonly call: CheckedCall;
  readonly answer: Answer;
  readonly promptTokens: number;
}

export type Pieces = AsyncGenerator<GenerationPiece, GenerationResult, void>;

/** Ends the requests of generators that were left half-way and collected. */
const collected = new FinalizationRegistry<Work>((work) => work.end());

/**
 * See LanguageModel.generate. A generator's own `return` waits for the work under way; this one's ends it.
 * @param begin checks the call; called when the generator is first iterated
 */
export function generation(model: RequestModel, begin: (work: Work) => Served): Pieces {
  const work = new Work();
  const pieces = generated(model, begin, work);
  const finish = pieces.return.bind(pieces);
  pieces.return = (value) => {
    work.end();
    return finish(value);
  };
  collected.register(pieces, work);
  return pieces;
}

async function* generated(model: RequestModel, begin: (work: Work) => Served, work: Work): Pieces {
  let request: Generation | undefined;
  try {
    request = await startedGeneration(model, begin, work);
    const { stream, answer } = request;
    for (;;) {
      const token = await nextToken(request, work);
      if (token === undefined) break;
      const piece = answer.push(token);
      if (answer.stopped) stream.abort(); // what ran ahead is dropped
      yield piece;
      if (answer.stopped) break;
      stream.taken();
    }
    const rest = answer.rest();
    if (rest) yield rest;
    return result(request);
  } catch (error) {
    if (!work.ended) throw error;
    return undefined as never; // who ended the generator asked for no result
  } finally {
    if (request) await leave(request, !request.answer.stopped);
  }
}

async function startedGeneration(model: RequestModel, begin: (work: Work) => Served, work: Work): Promise<Generation> {
  let made: Pick<Generation, "call" | "answer" | "promptTokens"> | undefined;
  const request = await started(model, begin, work, async (call) => {
    const prompt = await promptIds(model, call.prompt, call.signal, work);
    const { skipSpecialTokens, stops, sampling, maxNewTokens, topLogProbs } = call;
    const decoder = model.tokenizer?.createDecoder({ skipSpecialTokens, after: prompt.subarray(-promptEnd) });
    made = { call, answer: new Answer(decoder, stops), promptTokens: prompt.length };
    const stopIds = Int32Array.from(model.eosTokenIds);
    return { tokenIds: prompt, sampling, maxNewTokens, stopIds, topLogProbs, scoreFrom: -1 };
  });
  return { ...request, ...made! };
}

function result({ call, stream, answer, adapter, promptTokens, calledAt }: Generation): GenerationResult {
  const end = stream.end;
  const finishReason = answer.stopped || !end || "error" in end ? "stop" : end.reason;
  const { text, tokenIds, logProbabilities } = answer;
  const { queuedMs, firstTokenAt, cachedTokens } = stream;
  return resultOf(
    { promptTokens, sampling: call.sampling },
    { text, tokenIds, ...(call.topLogProbs >= 0 && { logProbabilities }), finishReason },
    {
      adapter: adapter.named ?? null,
      cachedTokens,
      queuedMs,
      firstTokenMs: firstTokenAt === undefined ? null : firstTokenAt - calledAt,
    },
    (performance.now() - calledAt) / 1e3,
  );
}
