import { markCopy } from "../copies";
import { invalid, RubricateError } from "../errors";
import { limits } from "../limits";
import { reportNotices } from "../notices";
import { booleanOf, checkOptions, isMissing, pathOf, readArgument } from "../options";
import { type ChatMessage, type Conversation, checkMessages } from "../template/chat_messages";
import { ChatTemplate, type RenderedChat } from "../template/chat_template";
import { AddedTokens, flags } from "./added_list";
import {
  type ChatOptions,
  chatNames,
  checkedDecodeIds,
  type DecodeOptions,
  type DecoderOptions,
  decodeNames,
  decoderNames,
  type EncodeOptions,
  encodeNames,
  requireTexts,
} from "./arguments";
import { type BpeOptions, MergeTable } from "./bpe_tables";
import { chosenTemplate, requireTemplate } from "./chat_templates";
import { cleanedUp } from "./clean_up";
import { normalizerGrowth } from "./costs";
import { bytesOf, filesOf, readTokenizerFiles, type TokenizerFiles } from "./files";
import { buildDecoder, byteToken, type DecoderAndAffixes } from "./library";
import { partsOf, type TokenizerParts, tokenizerError } from "./parts";
import { componentsOf } from "./schema";
import { partsInThread } from "./table_thread";
import { TextToIds } from "./text_to_ids";
import { TokenDecoder } from "./token_decoder";
import { TokenTable } from "./token_table";
import type { UnigramOptions } from "./unigram";
import { PieceTable } from "./unigram_pieces";

export type { ChatMessage } from "../template/chat_messages";
export type { RenderedChat } from "../template/chat_template";
export type { ChatOptions, DecodeOptions, DecoderOptions, EncodeOptions } from "./arguments";
export type { ChatTemplates } from "./chat_templates";
export type { TokenizerFiles } from "./files";
export { type DecodingRules, TokenDecoder } from "./token_decoder";

/** Texts of tokens that are kept once they were asked for. */
const keptTexts = 1 << 14;

/** Text to token ids and back, exactly as transformers does it with the same folder. Immutable. */
export class Tokenizer {
  static {
    markCopy(Tokenizer);
  }

  /** Id that begins a sequence, if the tokenizer has one. */
  readonly bosTokenId: number | undefined;
  /** Ids that end a sequence: the tokenizer's own first, then those of generation_config.json, or else of config.json. May be empty. */
  readonly eosTokenIds: readonly number[];
  /** Ids that `encode` puts before and after a text (BOS and EOS, if the tokenizer does so). */
  readonly prefixIds: readonly number[];
  readonly suffixIds: readonly number[];
  /** One more than the largest id, added tokens included. */
  readonly vocabSize: number;

  /** The token in place of characters that the vocabulary cannot spell, if there is one. @internal */
  readonly unknownId: number | undefined;

  /** By how much its normalizer can multiply a text's characters at most. @internal */
  readonly growth: number;

  /** The same of its decoder and a token's. */
  private readonly decoderGrowth: number;

  /** For another thread, which gets the tables without a copy. @internal */
  readonly parts: TokenizerParts;

  private readonly vocabulary: TokenTable;
  private readonly added: AddedTokens;
  private readonly encoder: TextToIds;
  private readonly decoder: DecoderAndAffixes;
  private readonly texts = new Map<number, string>();
  /** Parsed when first used, so that a model whose template cannot be read still works on text. */
  private readonly templates = new Map<string, ChatTemplate | RubricateError>();
  private hasToldIgnored = false;

  /**
   * Reads the tokenizer of a Hugging Face folder: tokenizer.json and, as present, tokenizer_config.json,
   * special_tokens_map.json, added_tokens.json, generation_config.json, chat_template.jinja and additional_chat_templates/.
   * @throws {RubricateError} ERR_FILE where a file cannot be read; ERR_TOKENIZER naming the file that is missing, malformed
   * or unsupported; ERR_TEMPLATE
   */
  static async fromPretrained(directory: string): Promise<Tokenizer> {
    return Tokenizer.load(directory);
  }

  /** The same, until the signal fires. @internal */
  static async load(directory: string, signal?: AbortSignal): Promise<Tokenizer> {
    pathOf("directory", directory);
    const bytes = await readTokenizerFiles(directory);
    return new Tokenizer(filesOf(bytes), await partsInThread(bytes, signal));
  }

  /** A tokenizer of another thread's tables. That thread keeps the files, and tells notices. @internal */
  static ofParts(parts: TokenizerParts): Tokenizer {
    const tokenizer = new Tokenizer({ directory: parts.directory, tokenizerJson: "" }, parts);
    tokenizer.hasToldIgnored = true;
    return tokenizer;
  }

  /**
   * Builds it at once: with the 9 MB of LLaMA 3's tokenizer.json that keeps the thread for half a second. `fromPretrained`
   * does it in a thread.
   * @param files what the tokenizer is made of; it may have come from another thread
   * @throws {RubricateError} as `fromPretrained`
   */
  constructor(files: TokenizerFiles);
  /** @internal */
  constructor(files: TokenizerFiles, parts: TokenizerParts);
  constructor(
    readonly files: TokenizerFiles,
    parts?: TokenizerParts,
  ) {
    // With parts, the files' texts are not looked at: a long one is decoded when somebody asks for it.
    if (parts === undefined) readArgument("files", "a tokenizer's files", () => requireTexts(files));
    this.parts = parts ?? partsOf(bytesOf(files));
    const { document, specialTokens, generationEosIds, generationBosId, raw, normalized, pieces } = this.parts;
    const vocabulary = new TokenTable(this.parts.vocabulary);
    const merges = new MergeTable(this.parts.merges);
    const added = new AddedTokens(this.parts.added);
    this.vocabulary = vocabulary;
    this.added = added;
    try {
      const options = document.model as BpeOptions & UnigramOptions;
      const model = pieces ? { options, pieces: new PieceTable(pieces) } : { options, vocabulary, merges };
      const unknown = pieces
        ? (options.unk_id ?? -1)
        : options.unk_token == null
          ? -1
          : vocabulary.id(options.unk_token);
      this.unknownId = unknown < 0 ? undefined : unknown;
      this.encoder = new TextToIds(document, model, { added, raw, normalized });
      this.decoder = buildDecoder(document);
    } catch (error) {
      throw tokenizerError(error);
    }
    this.growth = normalizerGrowth(componentsOf("normalizer", document.normalizer));
    this.decoderGrowth = normalizerGrowth(componentsOf("decoder", document.decoder));
    this.vocabSize = Math.max(vocabulary.idCount, vocabulary.size, added.table.idCount);
    const idOf = (name: string) => {
      const content = specialTokens[name];
      return content === undefined ? undefined : this.tokenId(content);
    };
    this.bosTokenId = idOf("bos_token") ?? generationBosId;
    const eos = idOf("eos_token");
    const known = generationEosIds.filter((id) => id < this.vocabSize);
    this.eosTokenIds = [...new Set([...(eos === undefined ? [] : [eos]), ...known])];
    [this.prefixIds, this.suffixIds] = this.affixes();
  }

  /** The token as the vocabulary spells it; an added token may stand at the place of another. */
  private textOf(id: number): string | undefined {
    const known = this.texts.get(id);
    if (known !== undefined) return known;
    const added = this.added.table.text(id);
    // A token that is looked for in normalized text is what the normalizer makes of it.
    const text =
      this.added.flags(id) & flags.normalized ? this.encoder.normalize(added!) : (added ?? this.vocabulary.text(id));
    if (text === undefined) return undefined;
    if (this.texts.size >= keptTexts) this.texts.clear();
    this.texts.set(id, text);
    return text;
  }

  /** The id of a token. */
  private tokenId(text: string): number | undefined {
    const added = this.added.table.id(text);
    if (added >= 0) return added;
    const found = this.vocabulary.id(text);
    return found >= 0 && this.textOf(found) === text ? found : undefined;
  }

  private has(id: number): boolean {
    return this.added.table.entryOf(id) >= 0 || this.vocabulary.entryOf(id) >= 0;
  }

  /** Source of the chat template for conversations without tools, if the tokenizer has one. */
  get chatTemplate(): string | undefined {
    return chosenTemplate(this.parts.chatTemplates, false);
  }

  /** SHA-256, in hexadecimal, of tokenizer.json, what other files change of it, and the chat templates. */
  get hash(): string {
    return this.parts.hash;
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

  /** Characters of all texts so far that became nothing, since the vocabulary cannot spell them. @internal */
  get droppedCharacters(): number {
    return this.encoder.dropped;
  }

  /**
   * The first ids of what `encode` returns without special tokens. What follows them in the text is hardly looked at.
   * @param most how many ids at most
   * @param continues whether the text goes on with one before: no space is put before it
   * @internal
   */
  encodeStart(text: string, most: number, continues = false): Int32Array<ArrayBuffer> {
    return this.encoder.encode(wellFormed(text), most, continues).between([], []);
  }

  /**
   * Ids that the vocabulary lacks are left out, as transformers leaves them out. It works on the thread that calls it: a
   * million ids take some tenths of a second.
   * @throws {RubricateError} ERR_ARGUMENT where there are too many ids, or the text could be too long
   */
  decode(ids: ArrayLike<number>, options: DecodeOptions = {}): string {
    const { skipSpecialTokens } = checkOptions(options, decodeNames, "decode");
    const skip = booleanOf("skipSpecialTokens", skipSpecialTokens, false);
    const text = this.decodeIds(checkedDecodeIds(ids), skip);
    return this.parts.cleansUp ? cleanedUp(text) : text;
  }

  private decodeIds(ids: readonly number[], skip: boolean): string {
    const tokens: string[] = [];
    let characters = 0;
    for (const id of ids) {
      const text = this.textOf(id);
      if (text === undefined || (skip && this.#isSpecialText(text))) continue;
      tokens.push(text);
      characters += Math.max(1, text.length) * this.decoderGrowth;
    }
    if (characters > limits.decodedCharacters)
      throw invalid("ids", `tokens of at most ${limits.decodedCharacters} characters together`, characters);
    return tokens.length === 0 ? "" : this.decoder.decode(tokens);
  }

  /** A decoder for ids that come one by one; its pieces put together equal `decode` of the whole. */
  createDecoder(options: DecoderOptions = {}): TokenDecoder {
    const { skipSpecialTokens, after } = checkOptions(options, decoderNames, "createDecoder");
    const skip = booleanOf("skipSpecialTokens", skipSpecialTokens, false);
    const rules = {
      decode: (ids: readonly number[]) => this.decodeIds(ids, false),
      skips: (id: number) => !this.has(id) || (skip && this.#isSpecialText(this.textOf(id)!)),
      isByte: (id: number) => this.decoder.hasByteFallback && byteToken.test(this.textOf(id) ?? ""),
      isUncertain: this.decoder.replacesInWhole,
      cleansUp: this.parts.cleansUp,
    };
    return new TokenDecoder(rules, isMissing(after) ? [] : checkedDecodeIds(after, "after"));
  }

  /** The token as the vocabulary spells it (`▁the`, `Ġthe`, `<0x0A>`), or undefined where the id is not in use. */
  tokenText(id: number): string | undefined {
    if (!Number.isInteger(id)) throw invalid("id", "an integer", id);
    return this.textOf(id);
  }

  isSpecial(id: number): boolean {
    if (!Number.isInteger(id)) throw invalid("id", "an integer", id);
    return this.isSpecialId(id);
  }

  /** Whether a decoded token is left out with special ones. The Rust library asks for its text. */
  #isSpecialText(text: string): boolean {
    return this.isSpecialId(this.added.table.id(text));
  }

  private isSpecialId(id: number): boolean {
    return (this.added.flags(id) & flags.special) !== 0;
  }

  /**
   * The messages as the chat template writes them. Tools, or calls of tools, that the template does not write give the
   * notice RUBRICATE_TOOLS_IGNORED, once per tokenizer.
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
    const conversation = checkMessages(messages, given.tools, undefined, given.mayBeEmpty);
    this.tellIgnored(conversation);
    const template = this.templateFor(conversation.tools);
    return template.render(conversation, { addGenerationPrompt, maxSteps: given.maxSteps });
  }

  /** Tells once what of conversations the chat template does not write. @internal */
  tellIgnored({ messages, tools }: Conversation): void {
    if (this.hasToldIgnored) return;
    const ignored = this.templateFor(tools).ignoredFields(messages, tools);
    if (ignored.length === 0) return;
    this.hasToldIgnored = true;
    const message = `The chat template does not write ${ignored.join(" and ")}: the text of the conversation lacks them`;
    reportNotices([{ code: "RUBRICATE_TOOLS_IGNORED", message }], undefined);
  }

  /** @throws {RubricateError} ERR_TEMPLATE where there is no chat template, or it cannot be parsed */
  checkChatTemplate(tools?: readonly object[]): void {
    this.templateFor(tools);
  }

  /**
   * The chat template of a conversation: where there are named ones and tools, "tool_use" before "default".
   * @throws {RubricateError} ERR_TEMPLATE where there is none, or it cannot be parsed
   * @internal
   */
  templateFor(tools: readonly object[] | null | undefined): ChatTemplate {
    const source = requireTemplate(this.parts.chatTemplates, tools !== undefined && tools !== null);
    const known = this.templates.get(source) ?? parsed(source, this.parts.specialTokens);
    this.templates.set(source, known);
    if (known instanceof RubricateError) throw known; // parsing once more would fail after the same time
    return known;
  }

  /**
   * Whether the chat template marks what the assistant says with generation tags.
   * @throws {RubricateError} ERR_TEMPLATE where the template cannot be parsed
   */
  get marksGeneration(): boolean {
    return this.chatTemplate !== undefined && this.templateFor(undefined).marksGeneration;
  }

  /** Ids of what the post-processor adds. */
  private affixes(): [number[], number[]] {
    const { affixes } = this.decoder;
    if (affixes === undefined)
      throw new RubricateError(
        "ERR_TOKENIZER",
        "tokenizer.json has a post-processor that changes the text's own tokens",
      );
    const [before, after] = affixes.map((tokens) => tokens.map((token) => this.tokenId(token)!));
    return [before!, after!];
  }
}

function parsed(source: string, specialTokens: Readonly<Record<string, string>>): ChatTemplate | RubricateError {
  try {
    return new ChatTemplate(source, specialTokens);
  } catch (error) {
    return error as RubricateError;
  }
}

function wellFormed(text: string): string {
  return text.replace(/[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/g, "\uFFFD");
}
