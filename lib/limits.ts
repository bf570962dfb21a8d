/**
 * Limits on input from files and callers, each listed with its error code in docs/limits.md. A size that comes from a file
 * is compared with its limit before anything of that size is allocated. The core's limits are in native/base/limits.h.
 */

const KiB = 1024;
const MiB = 1024 * KiB;

export const limits = {
  // Model configuration and weights: equal to those of native/base/limits.h
  maxLayers: 4096,
  maxHeads: 4096,
  maxHeadDim: 256,
  maxHidden: 1048576,
  maxIntermediate: 16777216,
  maxVocabulary: 16777216,
  maxContext: 16777216,
  minPositive: 1e-37,
  maxPositive: 1e9,
  maxFrequency: 1e6,
  maxHeaderBytes: 100000000,
  maxTensors: 98304,
  maxTensorsRead: 8192,
  maxTensorRank: 64,
  maxMetadata: 16384,
  maxJsonBytes: 1048576,
  maxJsonValues: 4096,
  maxJsonDepth: 64,
  // The same, checked only here
  /** Ids in a list of token ids. */
  maxTokenIds: 1024,
  maxRopeTheta: 1e30,

  // Files
  /** Bytes of a small document: config.json, an index, a chat template, adapter_config.json, trainer_state.json, ... */
  documentBytes: MiB,
  /** Values in a small document: what `JSON.parse` handles in half of 50 ms. */
  documentValues: 1 << 14,
  /** Bytes of tokenizer_config.json, which may list tens of thousands of added tokens (speech models do) and is parsed in pieces. */
  tokenizerConfigBytes: 16 * MiB,
  /** Levels of arrays and objects in any JSON text. */
  jsonNesting: 512,
  /** Memory that the objects, arrays and names of a JSON text may need: per byte of text, and in addition to that. */
  jsonGrowth: 8,
  jsonSpareBytes: MiB,
  /** Bytes of tokenizer.json, which is parsed in pieces; the largest known ones have 34 MB. */
  tokenizerBytes: 64 * MiB,
  /** Values in each member of tokenizer.json, except its vocabulary, merges and added tokens, and of tokenizer_config.json. */
  tokenizerValues: 1 << 19,
  /** Bytes of a name, or of whitespace in a row, in a file that is parsed in pieces. */
  tokenizerMemberBytes: 1 << 16,
  /** Bytes of a line of a JSONL file. Longer ones are skipped. */
  lineBytes: 16 * MiB,
  /** Values in a line of a JSONL file. Rows with more are skipped. */
  lineValues: 1 << 20,
  /** Bytes of all indexes that are kept of data files. */
  indexCacheBytes: 1 << 30,
  /** Bytes of a line of a run's log.jsonl. */
  logLineBytes: 1 << 16,
  /** Bytes of the header of a safetensors file with expected tensors, in addition to those for each tensor. */
  knownHeaderBytes: MiB,
  /** Bytes for each tensor in such a header. */
  knownTensorBytes: 256,
  /** Entries of a file of torch.save, and bytes of its directory. */
  torchEntries: 1 << 14,
  torchDirectoryBytes: 4 * MiB,
  /** Bytes and operations of its data.pkl, and bytes of a text in that. */
  torchPickleBytes: 4 * MiB,
  torchOperations: 1 << 18,
  torchNameBytes: 1024,
  /** Bytes of all its tensors together. */
  torchTensorBytes: 256 * MiB,
  /** Files of an interrupted write into a folder. */
  commitFiles: 1 << 13,
  /** Bytes of a prompt on stdin, and of a line of a conversation there. */
  stdinBytes: 16 * MiB,
  /** Levels of arrays and objects in the messages and tools of a row or of a call. */
  rowNesting: 64,

  /** UTF-16 units of the name of a MultiTrainer's run. */
  runNameCharacters: 2 ** 8,
  /** Events of such a run that are kept until somebody takes them. */
  queuedEvents: 2 ** 10,
  /** Of `rubricate compare`. */
  comparedSeeds: 1000,

  // Tokenizers and chat templates
  /** Largest token id. */
  tokenId: 2 ** 24 - 1,
  /** Ids that may be unused, in addition to seven per token: tables are as long as the largest id. */
  unusedTokenIds: 2 ** 16,
  addedTokens: 2 ** 17,
  /** Bytes of tokenizer.json without its tokens and merges: these are parsed in one call. */
  tokenizerPartsBytes: 256 * KiB,
  /** Bytes of a token or a merge in it. */
  tokenizerEntryBytes: 16 * KiB,
  /** UTF-16 units of a token of the vocabulary. */
  tokenCharacters: 2 ** 10,
  addedTokenCharacters: 2 ** 8,
  /** UTF-16 units of a piece of a unigram model, each of which may be compared at every place of a text. */
  pieceCharacters: 2 ** 7,
  /** Components of a normalizer, pre-tokenizer, post-processor or decoder, and levels of their sequences. */
  components: 32,
  componentDepth: 4,
  /** UTF-16 units of a pattern, and of its replacement text. */
  patternCharacters: 2 ** 12,
  replacementCharacters: 2 ** 6,
  /** Characters that all patterns together may compare at one position of a text. */
  patternCost: 2 ** 10,
  /** Factor by which all normalizers together may lengthen a text, and all decoders a token. */
  normalizerGrowth: 2 ** 6,
  /** UTF-16 units of a text that is encoded in one call. */
  textCharacters: 2 ** 24,
  /** UTF-16 units of a prompt that is encoded on the event loop's thread; a worker thread encodes longer ones. */
  quickCharacters: 2 ** 14,
  /** Named chat templates of a tokenizer. */
  chatTemplates: 16,
  /** UTF-16 units of a chat template. */
  templateCharacters: 2 ** 16,
  /** Consecutive characters of whitespace in a template: the parser reads each several times. */
  templateWhitespace: 2 ** 8,
  /** Words and symbols of a chat template; the parser takes some microseconds for each. */
  templateTokens: 3 * 2 ** 12,
  /** Levels of expressions and blocks in one another. */
  templateLevels: 150,
  /** UTF-16 units of a string that a template makes: 2^20 plus eight per unit of the conversation, up to this. */
  renderedCharacters: 2 ** 24,
  /** Steps of a template (about a microsecond each), in addition to 50 per part and 1 per 8 characters of the conversation. */
  templateSteps: 200_000,
  /** Messages that are rendered in all to find the assistant's turns in one conversation. */
  turnMessages: 2 ** 20,
  /** Steps on the event loop's thread; a worker thread renders templates that need more. */
  quickTemplateSteps: 20_000,

  // Calls
  /** Fields of an object of options, including unknown ones that are undefined. */
  optionFields: 1024,
  /** Of one call of `generate`. */
  maxNewTokens: 2 ** 31 - 1,
  topK: 2 ** 31 - 1,
  seed: Number.MAX_SAFE_INTEGER,
  mostTemperature: 100,
  /** The smallest normal float32: the core would treat smaller values as 0. */
  leastTemperature: 2 ** -126,
  leastRepetitionPenalty: 1e-3,
  mostRepetitionPenalty: 1e3,
  /** Of `frequencyPenalty` and `presencePenalty`, above and below 0. */
  mostPenalty: 2,
  /** Rank of a LoRA adapter. */
  mostLoraRank: 8192,
  /** Of the bias of one token, above and below 0. */
  mostLogitBias: 100,
  /** Token ids of one `logitBias`. */
  logitBiases: 1024,
  topLogProbabilities: 20,
  stopStrings: 256,
  /** UTF-16 units of one. */
  stopStringLength: 1024,
  chatMessages: 16_384,
  /** Values in the messages of one call of `generate`: they are copied on the event loop's thread. */
  promptValues: 2 ** 16,
  /** UTF-16 units of a prompt of `generate`, or of the strings in its messages; the same for the names of fields. */
  promptCharacters: 4 * MiB,
  /** UTF-16 units of all strings in a conversation's messages and tools; the same for the names of fields. */
  chatCharacters: 16 * MiB,
  /** Token ids of one call of `decode`. */
  decodeIds: MiB,
  /** UTF-16 units of all their tokens, times the decoders' growth factor. */
  decodedCharacters: 2 ** 26,
  /** Of one call of `dataset.examples`. */
  exampleIndices: MiB,
  epoch: 2 ** 32 - 1,
  /** Product of a shape's sizes, each 0 counted as 1. */
  tensorElements: 2 ** 44 - 1,
  tensorDimensions: 8,
  /** N of "cuda:N". */
  deviceNumber: 9999,
  /** Of `setDeviceMemoryLimit`. */
  deviceMemoryBytes: Number.MAX_SAFE_INTEGER,
  /** UTF-16 units of the name of an engine's adapter or tenant. */
  servedName: 256,
  /** Milliseconds from a request's beginning to its end: what a timer can count. */
  deadlineMs: 2 ** 31 - 1,
  /** Of `Engine`: bytes of keys and values, or of adapters. */
  engineBytes: 2 ** 46,
  maxSequences: 65_536,
  maxQueue: 2 ** 24,
  stepMs: 60_000,
  keepVersions: 1000,

  // Training
  /** Options of the optimizer, which computes in float32. */
  largestFloat32: 3.4028234663852886e38,
  /** The smallest normal float32. */
  smallestFloat32: 2 ** -126,
  /** The largest float32 below 1. */
  largestBeta: 1 - 2 ** -24,
} as const;
