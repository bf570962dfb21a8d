/**
 * Builds the tokenizer of @huggingface/tokenizers and replaces those of its parts that differ from the Rust library or
 * need too much time or memory. This writes into the library's instances, so package.json names its exact version; look
 * through this file and tokenizer_schema.ts before changing that.
 */
import { eachIn, type Steps } from "../steps";
import type { BpeOptions } from "./bpe_tables";
import type { AddedToken, TokenizerDefinition } from "./files";
import { decodeByteLevel, decodeByteRuns, decodeMetaspace, eachTokenOnce } from "./hub_decoders";
import { TextToIds } from "./text_to_ids";

/** The parts of @huggingface/tokenizers in use; its own types are ES modules, which CommonJS cannot name. */
export interface HubTokenizer {
  decode(ids: number[], options: { skip_special_tokens: boolean; clean_up_tokenization_spaces: boolean }): string;
  readonly post_processor: ((tokens: string[], pair: null, special: boolean) => { tokens: string[] }) | null;
  readonly decoder: HubDecoder | null;
  readonly model: {
    vocab: (string | undefined)[];
    tokens_to_ids: { get(token: string): number | undefined };
    unk_token_id: number | undefined;
  };
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
export function* buildHubTokenizer({ tokenizer, bpe }: TokenizerDefinition): Steps<{
  readonly inner: HubTokenizer;
  readonly encoder: TextToIds;
}> {
  // The library would build tables of its own from these, at once: of a large vocabulary that takes half a second.
  const { vocabulary, merges } = bpe;
  const options = tokenizer.model as BpeOptions;
  const inner = new hub.Tokenizer(
    {
      ...tokenizer,
      added_tokens: [],
      normalizer: null,
      pre_tokenizer: null,
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
  const addedIds = new Map<string, number>();
  yield* eachIn(added, ({ id, content }) => {
    length = Math.max(length, id + 1);
    addedIds.set(content, id);
  });
  model.vocab = new Array(length);
  yield* eachIn(added, ({ id, content }) => {
    model.vocab[id] = content;
  });
  const idOfAny = (token: string) => addedIds.get(token) ?? idOf(token);
  model.tokens_to_ids = { get: idOfAny };
  model.unk_token_id = options.unk_token == null ? undefined : idOf(options.unk_token);
  repairDecoder(inner.decoder);
  return { inner, encoder: yield* TextToIds.of(tokenizer, { options, vocabulary, merges, idOf: idOfAny }) };
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
    decoder.decode_chain = (tokens) => tokens.map(eachTokenOnce((token) => token.replaceAll(pattern, () => content)));
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
