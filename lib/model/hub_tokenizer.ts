/**
 * Builds the tokenizer of @huggingface/tokenizers and replaces those of its parts that differ from the Rust library or
 * need too much time or memory. This writes into the library's instances, so package.json names its exact version; look
 * through this file and tokenizer_schema.ts before changing that.
 */
import { AddedTokenSplitter } from "./added_tokens";
import { type BpeOptions, BytePairEncoder } from "./bpe";
import { decodeByteLevel, decodeByteRuns, decodeMetaspace } from "./hub_decoders";
import { normalizerOf, piecesBetween, splitsOf } from "./hub_splits";
import type { AddedToken, TokenizerDefinition } from "./tokenizer_files";
import type { Json } from "./tokenizer_schema";

/** The parts of @huggingface/tokenizers in use; its own types are ES modules, which CommonJS cannot name. */
export interface HubTokenizer {
  encode(text: string, options: { add_special_tokens: boolean }): { ids: number[] };
  decode(ids: number[], options: { skip_special_tokens: boolean; clean_up_tokenization_spaces: boolean }): string;
  encode_text(text: string | null): string[] | null;
  readonly pre_tokenizer: (((text: string, options: { section_index: number }) => string[]) & HubPreTokenizer) | null;
  readonly post_processor: ((tokens: string[], pair: null, special: boolean) => { tokens: string[] }) | null;
  readonly decoder: HubDecoder | null;
  readonly model: {
    vocab: (string | undefined)[];
    tokens_to_ids: { get(token: string): number | undefined };
    unk_token_id: number | undefined;
  };
}
interface HubPreTokenizer {
  readonly config?: { readonly type?: string; readonly behavior?: string; readonly invert?: boolean };
  readonly tokenizers?: readonly HubPreTokenizer[];
  pattern?: RegExp;
  pre_tokenize_text?(text: string): string[];
}
interface HubDecoder {
  readonly config: { readonly type?: string; readonly content?: string; readonly prepend_scheme?: string };
  readonly decoders?: readonly HubDecoder[];
  readonly pattern?: RegExp;
  decode_chain(tokens: string[]): string[];
}
const hub = require("@huggingface/tokenizers") as {
  Tokenizer: new (tokenizer: object, config: object) => HubTokenizer;
};

/** @throws {Error} where a part cannot be built */
export function buildHubTokenizer({ tokenizer, bpe }: TokenizerDefinition): HubTokenizer {
  // The library would build tables of its own from these, at once: of a large vocabulary that takes half a second.
  const { vocabulary, merges } = bpe;
  const options = tokenizer.model as BpeOptions;
  const encoder = new BytePairEncoder(options, vocabulary, merges);
  const inner = new hub.Tokenizer(
    {
      ...tokenizer,
      added_tokens: [],
      normalizer: null,
      pre_tokenizer: splitsOf(tokenizer.pre_tokenizer),
      model: { ...options, type: "BPE", vocab: {}, merges: [] },
    },
    {},
  );
  const { model } = inner;
  const added = tokenizer.added_tokens as readonly AddedToken[];
  const idOf = (token: string) => {
    const id = vocabulary.id(token);
    return id < 0 ? undefined : id;
  };
  let length = Math.max(vocabulary.idCount, vocabulary.size);
  for (const { id } of added) length = Math.max(length, id + 1);
  model.vocab = new Array(length);
  for (const { id, content } of added) model.vocab[id] = content;
  const addedIds = new Map(added.map(({ content, id }) => [content, id]));
  model.tokens_to_ids = { get: (token) => addedIds.get(token) ?? idOf(token) };
  model.unk_token_id = options.unk_token == null ? undefined : idOf(options.unk_token);
  inner.encode_text = textEncoder(inner, encoder, tokenizer);
  repairPreTokenizer(inner.pre_tokenizer);
  repairDecoder(inner.decoder);
  return inner;
}

/**
 * Encodes text to tokens in the Rust library's order: added tokens that are not normalized, the normalizer, those that
 * are, the pre-tokenizer, the model.
 */
function textEncoder(inner: HubTokenizer, encoder: BytePairEncoder, tokenizer: Json): HubTokenizer["encode_text"] {
  const added = tokenizer.added_tokens as readonly AddedToken[];
  const normalize = normalizerOf(tokenizer.normalizer as Json | null) ?? ((text: string) => text);
  const raw = new AddedTokenSplitter(
    added.flatMap((token) => (token.normalized ? [] : [{ token, text: token.content }])),
  );
  let normalized: AddedTokenSplitter | undefined;
  const words = (text: string, section_index: number) => inner.pre_tokenizer?.(text, { section_index }) ?? [text];
  return (text) => {
    if (text === null) return null;
    // Made when it is first used, and so under the time limit of encoding: the normalizer may hold any pattern.
    normalized ??= new AddedTokenSplitter(
      added.flatMap((token) => (token.normalized ? [{ token, text: normalize(token.content) }] : [])),
    );
    const tokens: string[] = [];
    for (const [section, piece] of raw.split(text).entries()) {
      if (piece.token) {
        tokens.push(piece.token.content);
        continue;
      }
      for (const [part, { text, token }] of normalized.split(normalize(piece.text)).entries())
        if (token) tokens.push(token.content);
        else for (const one of encoder.encode(words(text, section + part))) tokens.push(one);
    }
    return tokens;
  };
}

/** GPT-2's pattern with Unicode's white space: JavaScript's \s has U+FEFF and lacks U+0085. */
const gpt2 =
  /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu;

function repairPreTokenizer(part: HubPreTokenizer | null): void {
  for (const inner of part?.tokenizers ?? []) repairPreTokenizer(inner);
  if (!part?.config) return;
  const { type, behavior, invert } = part.config;
  if (type === "ByteLevel") part.pattern = gpt2;
  // The library's text.split() gives what groups of the pattern matched, too.
  const { pattern } = part;
  if (type === "Split" && behavior === "Removed" && !invert && pattern)
    part.pre_tokenize_text = (text) => piecesBetween(text, pattern);
}

/** Replaces the decoders that differ from the `tokenizers` library in Rust. */
function repairDecoder(decoder: HubDecoder | null): void {
  for (const inner of decoder?.decoders ?? []) repairDecoder(inner);
  if (!decoder) return;
  const { type, content = "", prepend_scheme } = decoder.config;
  if (type === "ByteFallback") decoder.decode_chain = decodeByteRuns;
  if (type === "ByteLevel") decoder.decode_chain = decodeByteLevel;
  if (type === "Metaspace") decoder.decode_chain = (tokens) => decodeMetaspace(tokens, prepend_scheme !== "never");
  const { pattern } = decoder;
  if (type === "Replace" && pattern)
    decoder.decode_chain = (tokens) => tokens.map((token) => token.replaceAll(pattern, () => content));
}

export function hasByteFallback(decoder: HubDecoder | null): boolean {
  return decoder?.config.type === "ByteFallback" || (decoder?.decoders ?? []).some(hasByteFallback);
}

const sentinel = "\uFFFF the text itself";

/**
 * Tokens that the post-processor puts before and after a text.
 * @returns undefined where the text's own tokens do not come out once
 */
export function affixesOf(inner: HubTokenizer): readonly [before: string[], after: string[]] | undefined {
  const tokens = inner.post_processor?.([sentinel], null, true).tokens ?? [sentinel];
  const at = tokens.indexOf(sentinel);
  return at < 0 || tokens.lastIndexOf(sentinel) !== at ? undefined : [tokens.slice(0, at), tokens.slice(at + 1)];
}
