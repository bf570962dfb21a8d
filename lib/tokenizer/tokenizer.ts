import { invalid, RubricateError } from "../errors";
import { limits } from "../limits";
import { booleanOf, checkOptions, pathOf, readArgument } from "../options";
import { atOnce, eachIn, inSlices, type Steps } from "../steps";
import { type ChatMessage, checkMessages } from "../template/chat_messages";
import { ChatTemplate, marksGeneration, type RenderedChat } from "../template/chat_template";
import {
  type ChatOptions,
  chatNames,
  checkedDecodeIds,
  type DecodeOptions,
  decodeNames,
  type EncodeOptions,
  encodeNames,
  requireTexts,
} from "./arguments";
import { normalizerGrowth } from "./costs";
import {
  type AddedToken,
  defineTokenizer,
  readTokenizerFiles,
  type SharedTokenizerFiles,
  sharedTokenizerFiles,
  type TokenizerDefinition,
  type TokenizerFiles,
} from "./files";
import { byteToken } from "./hub_decoders";
import { affixesOf, buildHubTokenizer, type HubTokenizer, hasByteFallback } from "./hub_tokenizer";
import { componentsOf } from "./schema";
import type { TextToIds } from "./text_to_ids";
import { TokenDecoder } from "./token_decoder";
import { Vocabulary } from "./vocabulary";

export type { ChatMessage } from "../template/chat_messages";
export type { RenderedChat } from "../template/chat_template";
export type { ChatOptions, DecodeOptions, EncodeOptions } from "./arguments";
export type { TokenizerFiles } from "./files";
export { TokenDecoder } from "./token_decoder";

/** What a tokenizer is built to. */
interface Built {
  readonly definition: TokenizerDefinition;
  readonly inner: HubTokenizer;
  readonly encoder: TextToIds;
  readonly vocabulary: Vocabulary;
  readonly specialIds: ReadonlySet<number>;
  /** Of the tokens that stand for a byte, where the decoder knows such. */
  readonly byteIds: ReadonlySet<number>;
}
/** What was built in steps for these files, until the constructor takes it. */
const built = new WeakMap<TokenizerFiles, Built>();

/** Text to token ids and back, exactly as transformers does it with the same folder. Immutable. */
export class Tokenizer {
  /** Id that begins a sequence, if the tokenizer has one. */
  readonly bosTokenId: number | undefined;
  /** Ids that end a sequence: the tokenizer's own first, then those of generation_config.json. May be empty. */
  readonly eosTokenIds: readonly number[];
  /** Ids that `encode` puts before and after a text (BOS and EOS, if the tokenizer does so). */
  readonly prefixIds: readonly number[];
  readonly suffixIds: readonly number[];
  /** One more than the largest id, added tokens included. */
  readonly vocabSize: number;

  /** By how much its normalizer can multiply a text's characters at most. @internal */
  readonly growth: number;

  /** The same of its decoder and a token's. */
  private readonly decoderGrowth: number;
  private readonly definition: Omit<TokenizerDefinition, "tokenizer" | "bpe">;
  private readonly inner: HubTokenizer;
  private readonly encoder: TextToIds;
  private readonly vocabulary: Vocabulary;
  private readonly specialIds: ReadonlySet<number>;
  private readonly byteIds: ReadonlySet<number>;
  /** Parsed when first used, so that a model whose template cannot be read still works on text. */
  private template: ChatTemplate | undefined;
  private templateError: RubricateError | undefined;

  /**
   * Reads the tokenizer of a Hugging Face folder: tokenizer.json and, as present, tokenizer_config.json,
   * special_tokens_map.json, generation_config.json and chat_template.jinja.
   * @throws {RubricateError} ERR_FILE where a file cannot be read; ERR_TOKENIZER naming the file that is missing, malformed
   * or unsupported; ERR_TEMPLATE
   */
  static async fromPretrained(directory: string): Promise<Tokenizer> {
    pathOf("directory", directory);
    const files = await readTokenizerFiles(directory);
    built.set(files, await inSlices(buildSteps(files)));
    return new Tokenizer(files);
  }

  /** A tokenizer of another thread's files. @internal */
  static ofShared(files: SharedTokenizerFiles): Tokenizer {
    return new Tokenizer(sharedTokenizerFiles(files));
  }

  /**
   * Builds it at once: with the 9 MB of LLaMA 3's tokenizer.json that keeps the thread for half a second. `fromPretrained`
   * gives way to the event loop meanwhile.
   * @param files what the tokenizer is made of; it may have come from another thread
   * @throws {RubricateError} as `fromPretrained`
   */
  constructor(readonly files: TokenizerFiles) {
    readArgument("files", "a tokenizer's files", () => requireTexts(files));
    const parts = built.get(files) ?? atOnce(buildSteps(files));
    const { definition, inner, encoder, vocabulary, specialIds, byteIds } = parts;
    built.delete(files);
    const { tokenizer, bpe: _, ...rest } = definition;
    this.definition = rest;
    this.inner = inner;
    this.encoder = encoder;
    this.vocabulary = vocabulary;
    const { specialTokens } = definition;
    this.growth = normalizerGrowth(componentsOf("normalizer", tokenizer.normalizer));
    this.decoderGrowth = normalizerGrowth(componentsOf("decoder", tokenizer.decoder));
    this.vocabSize = vocabulary.size;
    this.specialIds = specialIds;
    this.byteIds = byteIds;
    const idOf = (name: string) => {
      const content = specialTokens[name];
      return content === undefined ? undefined : vocabulary.id(content);
    };
    this.bosTokenId = idOf("bos_token") ?? definition.generationBosId;
    const eos = idOf("eos_token");
    const known = definition.generationEosIds.filter((id) => id < this.vocabSize);
    this.eosTokenIds = [...new Set([...(eos === undefined ? [] : [eos]), ...known])];
    [this.prefixIds, this.suffixIds] = this.affixes();
  }

  /** Source of the chat template, if the tokenizer has one. */
  get chatTemplate(): string | undefined {
    return this.definition.chatTemplate;
  }

  /** SHA-256, in hexadecimal, of tokenizer.json, what other files change of it, and the chat template. */
  get hash(): string {
    return this.definition.hash;
  }

  /** The token that ends a sequence, if there is one. */
  get eosTokenId(): number | undefined {
    return this.eosTokenIds[0];
  }

  /** @returns token ids, [tokens]; lone surrogates count as U+FFFD */
  encode(text: string, options: EncodeOptions = {}): Int32Array<ArrayBuffer> {
    if (typeof text !== "string") throw invalid("text", "a string", text);
    if (text.length > limits.textCharacters)
      throw invalid("the length of text", `at most ${limits.textCharacters} characters`, text.length);
    const { addSpecialTokens } = checkOptions(options, encodeNames, "encode");
    const affixed = booleanOf("addSpecialTokens", addSpecialTokens, true);
    const ids = this.encoder.encode(wellFormed(text));
    return affixed ? ids.between(this.prefixIds, this.suffixIds) : ids.between([], []);
  }

  /**
   * The first ids of what `encode` returns without special tokens. What follows them in the text is hardly looked at.
   * @param most how many ids at most
   * @internal
   */
  encodeStart(text: string, most: number): Int32Array<ArrayBuffer> {
    return this.encoder.encode(wellFormed(text), most).between([], []);
  }

  /**
   * Ids that the vocabulary lacks are left out, as transformers leaves them out. It works on the thread that calls it: a
   * million ids take some tenths of a second.
   * @throws {RubricateError} ERR_ARGUMENT where there are too many ids, or the text could be too long
   */
  decode(ids: ArrayLike<number>, options: DecodeOptions = {}): string {
    const { skipSpecialTokens } = checkOptions(options, decodeNames, "decode");
    const skip = booleanOf("skipSpecialTokens", skipSpecialTokens, false);
    return this.decodeIds(checkedDecodeIds(ids), skip);
  }

  private decodeIds(ids: readonly number[], skip: boolean): string {
    const kept: number[] = [];
    let characters = 0;
    for (const id of ids) {
      const token = this.vocabulary.text(id);
      if (token === undefined || (skip && this.specialIds.has(id))) continue;
      kept.push(id);
      characters += Math.max(1, token.length) * this.decoderGrowth;
    }
    if (characters > limits.decodedCharacters)
      throw invalid("ids", `tokens of at most ${limits.decodedCharacters} characters together`, characters);
    if (kept.length === 0) return "";
    // transformers does not clean up spaces after a byte-pair encoding, whatever tokenizer_config.json says.
    return this.inner.decode(kept, { skip_special_tokens: false, clean_up_tokenization_spaces: false });
  }

  /** A decoder for ids that come one by one; its pieces put together equal `decode` of the whole. */
  createDecoder(options: DecodeOptions = {}): TokenDecoder {
    const { skipSpecialTokens } = checkOptions(options, decodeNames, "createDecoder");
    const skip = booleanOf("skipSpecialTokens", skipSpecialTokens, false);
    return new TokenDecoder({
      decode: (ids) => this.decodeIds(ids, false),
      skips: (id) => this.vocabulary.text(id) === undefined || (skip && this.specialIds.has(id)),
      isByte: (id) => this.byteIds.has(id),
    });
  }

  /** The token as the vocabulary spells it (`▁the`, `Ġthe`, `<0x0A>`), or undefined where the id is not in use. */
  tokenText(id: number): string | undefined {
    if (!Number.isInteger(id)) throw invalid("id", "an integer", id);
    return this.vocabulary.text(id);
  }

  isSpecial(id: number): boolean {
    if (!Number.isInteger(id)) throw invalid("id", "an integer", id);
    return this.specialIds.has(id);
  }

  /**
   * The messages as the chat template writes them.
   * @throws {RubricateError} ERR_TEMPLATE where there is no template, or it fails or does not end
   */
  applyChatTemplate(messages: readonly ChatMessage[], options: ChatOptions = {}): string {
    return this.renderChat(messages, options).text;
  }

  /** Token ids of the messages, [tokens]; the template alone decides whether they begin with BOS. */
  encodeChat(messages: readonly ChatMessage[], options: ChatOptions = {}): Int32Array<ArrayBuffer> {
    return this.encode(this.applyChatTemplate(messages, options), { addSpecialTokens: false });
  }

  /** As `applyChatTemplate`, with the spans between the template's generation tags. */
  renderChat(messages: readonly ChatMessage[], options: ChatOptions = {}): RenderedChat {
    const given = checkOptions(options, chatNames, "applyChatTemplate");
    const addGenerationPrompt = booleanOf("addGenerationPrompt", given.addGenerationPrompt, false);
    const { messages: plain, tools } = checkMessages(messages, given.tools);
    return this.parsedTemplate().render(plain, { addGenerationPrompt, tools, maxSteps: given.maxSteps });
  }

  /** @throws {RubricateError} ERR_TEMPLATE where there is no chat template, or it cannot be parsed */
  checkChatTemplate(): void {
    this.parsedTemplate();
  }

  private parsedTemplate(): ChatTemplate {
    const source = this.chatTemplate;
    if (source === undefined)
      throw new RubricateError("ERR_TEMPLATE", "The tokenizer has no chat template; give text instead of messages");
    if (this.templateError) throw this.templateError; // parsing once more would fail after the same time
    try {
      this.template ??= new ChatTemplate(source, this.definition.specialTokens);
    } catch (error) {
      this.templateError = error as RubricateError;
      throw error;
    }
    return this.template;
  }

  /** Whether the chat template marks what the assistant says with generation tags. */
  get marksGeneration(): boolean {
    return marksGeneration(this.chatTemplate ?? "");
  }

  /** Ids of what the post-processor adds. */
  private affixes(): [number[], number[]] {
    const affixes = affixesOf(this.inner);
    if (affixes === undefined)
      throw new RubricateError(
        "ERR_TOKENIZER",
        "tokenizer.json has a post-processor that changes the text's own tokens",
      );
    const [before, after] = affixes.map((tokens) => tokens.map((token) => this.vocabulary.id(token)!));
    return [before!, after!];
  }
}

function wellFormed(text: string): string {
  return text.replace(/[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/g, "\uFFFD");
}

const hexadecimal = [..."0123456789ABCDEFabcdef"];

function* byteIdsOf(vocabulary: Vocabulary, added: readonly AddedToken[]): Steps<Set<number>> {
  const ids = new Set<number>();
  yield* eachIn(added, ({ content, id }) => {
    if (byteToken.test(content)) ids.add(id);
  });
  for (const high of hexadecimal)
    for (const low of hexadecimal) {
      const id = vocabulary.id(`<0x${high}${low}>`);
      if (id !== undefined) ids.add(id);
    }
  return ids;
}

/** @throws {RubricateError} ERR_TOKENIZER @internal */
export function* buildSteps(files: TokenizerFiles): Steps<Built> {
  try {
    const definition = yield* defineTokenizer(files);
    const { inner, encoder } = yield* buildHubTokenizer(definition);
    const added = definition.tokenizer.added_tokens as readonly AddedToken[];
    const ids = new Map<string, number>();
    const specialIds = new Set<number>();
    yield* eachIn(added, ({ content, id, special }) => {
      ids.set(content, id);
      if (special) specialIds.add(id);
    });
    const vocabulary = new Vocabulary(inner.model.vocab, definition.bpe.vocabulary, ids);
    const byteIds = hasByteFallback(inner.decoder) ? yield* byteIdsOf(vocabulary, added) : new Set<number>();
    return { definition, inner, encoder, vocabulary, specialIds, byteIds };
  } catch (error) {
    if (error instanceof RubricateError) throw error;
    const reason = (error as Error).message;
    throw new RubricateError("ERR_TOKENIZER", `tokenizer.json cannot be used: ${reason}`, { cause: error });
  }
}
