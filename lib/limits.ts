/**
 * Bounds on what a file or a caller may ask for, each listed with its error code in docs/limits.md. A size that comes from
 * a file is compared with its bound before anything of that size is made. Bounds that the core checks are in
 * native/base/limits.h.
 */

const KiB = 1024;
const MiB = 1024 * KiB;
const GiB = 1024 * MiB;

export const limits = {
  // Files

  // Tokenizers and chat templates
  /** Largest token id. */
  tokenId: 2 ** 24 - 1,
  /** Ids that may be unused, beside seven for each token: tables are as long as the largest id. */
  unusedTokenIds: 2 ** 16,
  addedTokens: 2 ** 17,
  /** Bytes of tokenizer.json beside its tokens and merges: these are parsed at once. */
  tokenizerPartsBytes: 256 * KiB,
  /** Bytes of a token or a merge in it. */
  tokenizerEntryBytes: 16 * KiB,
  /** UTF-16 units of a token of the vocabulary. */
  tokenCharacters: 2 ** 10,
  addedTokenCharacters: 2 ** 8,
  /** Components of a normalizer, pre-tokenizer, post-processor or decoder, and levels of their sequences. */
  components: 32,
  componentDepth: 4,
  /** UTF-16 units of a pattern, and of what replaces its matches. */
  patternCharacters: 2 ** 12,
  replacementCharacters: 2 ** 6,
  /** UTF-16 units of a text that is encoded in one call. */
  textCharacters: 2 ** 24,
  /** UTF-16 units of a prompt that is encoded on the event loop's thread; another thread encodes longer ones. */
  quickCharacters: 2 ** 14,
  /** UTF-16 units of a chat template. */
  templateCharacters: 2 ** 16,
  /** Characters of whitespace in a row in one: the parser looks at each several times. */
  templateWhitespace: 2 ** 8,
  /** UTF-16 units of a string that a template makes: 2^20, and eight for each of the conversation's, up to this. */
  renderedCharacters: 2 ** 24,
  /** Steps of a template (about a microsecond each), beside 50 for each part and 1 for 8 characters of the conversation. */
  templateSteps: 200_000,
  /** Steps on the event loop's thread; another thread renders what needs more. */
  quickTemplateSteps: 20_000,

  // Calls

  // Training
} as const;
