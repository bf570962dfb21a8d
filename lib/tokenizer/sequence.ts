/**
 * How texts become one sequence of token ids: the same for what is learned and for what is generated, so that a model is asked
 * with the ids that it has learned to answer.
 */
import type { Tokenizer } from "./tokenizer";

/** A prompt with the tokens before it, and what follows. */
export interface PromptAndCompletion {
  /** [tokens] */
  readonly tokenIds: Int32Array<ArrayBuffer>;
  /** Tokens of the prompt, BOS among them. */
  readonly promptLength: number;
}

/** Reads text as ids. */
type Encode = (text: string, most: number, continues: boolean) => Int32Array<ArrayBuffer>;

/**
 * Ids of a prompt and its completion. They begin with those of the prompt alone, which is all that generation has. What
 * follows is the rest of the joined text's ids where these begin so. Where they do not, as a token goes over the joint, it is the
 * completion read as the middle of a text: no space is put before it.
 * @param most ids that are wanted; there may be a few more
 * @param encode the tokenizer's `encodeStart`, with errors of the caller's kind
 */
export function promptAndCompletion(
  tokenizer: Tokenizer,
  prompt: string,
  completion: string,
  most: number,
  encode: Encode = (text, count, continues) => tokenizer.encodeStart(text, count, continues),
): PromptAndCompletion {
  const before = prompt === "" ? new Int32Array(0) : encode(prompt, most, false);
  let whole = before;
  if (before.length < most) {
    whole = encode(prompt + completion, most, false);
    if (!before.every((id, at) => id === whole[at]))
      whole = joined(before, encode(completion, most - before.length, true));
  }
  const tokenIds = joined(prefixOf(tokenizer, before.length > 0 ? before : whole), whole);
  return { tokenIds, promptLength: tokenIds.length - whole.length + before.length };
}

/** The tokens that end a text which is learned: one, unless it has one of those at which generation stops. */
export function endOf(tokenizer: Tokenizer, tokenIds: Int32Array): readonly number[] {
  const last = tokenIds.at(-1);
  const ended = last !== undefined && tokenizer.eosTokenIds.includes(last);
  return ended || tokenizer.eosTokenId === undefined ? [] : [tokenizer.eosTokenId];
}

/** As many of the tokens that the tokenizer puts before a text as it does not begin with. */
function prefixOf({ prefixIds }: Tokenizer, ids: Int32Array): readonly number[] {
  let own = Math.min(prefixIds.length, ids.length);
  while (own > 0 && !prefixIds.slice(-own).every((id, at) => id === ids[at])) own--;
  return prefixIds.slice(0, prefixIds.length - own);
}

/**
 * A text's ids behind the tokens that the tokenizer puts before a text (most often BOS), but for those that it begins with: text
 * that was made with a template has its BOS already.
 */
export function prefixed(tokenizer: Tokenizer, ids: Int32Array): Int32Array<ArrayBuffer> {
  return joined(prefixOf(tokenizer, ids), ids);
}

export function joined(first: ArrayLike<number>, second: ArrayLike<number>): Int32Array<ArrayBuffer> {
  const whole = new Int32Array(first.length + second.length);
  whole.set(first);
  whole.set(second, first.length);
  return whole;
}
