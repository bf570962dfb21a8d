/** Each limit has a row in docs/limits.md, a constant, and tests. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { limits } from "../../lib/limits";

const root = join(__dirname, "..", "..");
const read = (name: string) => readFileSync(join(root, name), "utf8");
const docs = read("docs/limits.md");
const header = read("native/base/limits.h");

/** Constants of the core by their names, `kMaxLayers` as `maxLayers` where lib/limits.ts has it, too. */
const native = new Map(
  [...header.matchAll(/^constexpr \w+ (k\w+) = ([\d.e+-]+);/gm)].map(([, name, value]) => {
    const here = name![1]!.toLowerCase() + name!.slice(2);
    return [here in limits ? here : name!, Number(value)];
  }),
);
const constants = new Map([...native, ...Object.entries(limits)]);

const [chat, calls, files, schema] = ["chat_template", "call_limits", "files_read", "tokenizer_schema"].map(
  (name) => `test/unit/${name}.test.ts`,
) as [string, string, string, string];
const [models, prompts, numbers] = ["limits_model", "prompt", "not_finite"].map(
  (name) => `test/unit/${name}.test.ts`,
) as [string, string, string];
const safetensors = "native/files/safetensors_test.cc";

/** The tests of each limit, at it and one past it: file, titles, and in C++ the constant. */
const tested: Readonly<Record<string, readonly [file: string, ...titles: string[]]>> = {
  maxLayers: [models, "$key may be $most and no more"],
  maxHeads: [models, "$key may be $most and no more"],
  maxHeadDim: [models, "$key may be $most and no more"],
  maxHidden: [models, "$key may be $most and no more"],
  maxIntermediate: [models, "$key may be $most and no more"],
  maxVocabulary: [models, "$key may be $most and no more"],
  maxContext: [models, "$key may be $most and no more"],
  minPositive: [models, "minPositive and maxFrequency"],
  maxPositive: [models, "$key may be $most and no more"],
  maxFrequency: [models, "minPositive and maxFrequency"],
  maxHeaderBytes: [safetensors, "the counts in a header are bounded"],
  maxTensors: [safetensors, "the counts in a header are bounded"],
  maxTensorsRead: [
    "test/runtime/tensor_files.test.ts",
    "tensors are read with their own bytes, up to the maximum number",
  ],
  maxTensorRank: [safetensors, "the counts in a header are bounded"],
  maxMetadata: [safetensors, "the counts in a header are bounded"],
  maxJsonBytes: [models, "an architecture document has limits"],
  maxJsonValues: [models, "an architecture document has limits"],
  maxJsonDepth: [models, "an architecture document has limits"],
  maxTokenIds: [models, "ids without end", "accepts the maximum number of ids"],
  maxRopeTheta: [models, "$key may be $most and no more"],
  kThreads: ["native/device/cpu/thread_pool_test.cc", "a pool has at least one thread and at most the limit"],
  kMappedFiles: ["native/files/mapped_file_test.cc", "files can be mapped up to the limit, and no more"],
  documentBytes: [files, '"documentBytes"'],
  documentValues: [files, '"documentValues and jsonNesting"'],
  jsonNesting: [files, '"documentValues and jsonNesting"', "the nesting of a line"],
  jsonGrowth: [
    "test/unit/json_memory.test.ts",
    "jsonGrowth and jsonSpareBytes: empty objects",
    "names in a new order cost memory",
  ],
  jsonSpareBytes: [
    "test/unit/json_memory.test.ts",
    "jsonGrowth and jsonSpareBytes: empty objects",
    "names in a new order cost memory",
  ],
  tokenizerConfigBytes: [files, '"tokenizerConfigBytes"'],
  tokenizerBytes: [files, '"tokenizerBytes"'],
  tokenizerValues: [files, '"tokenizerValues and tokenizerMemberBytes"'],
  tokenizerMemberBytes: [files, '"tokenizerValues and tokenizerMemberBytes"'],
  lineBytes: [files, '"lineBytes"'],
  lineValues: [files, '"lineValues, and the nesting of a line"'],
  indexCacheBytes: ["test/unit/index_cache.test.ts", "entries may have as many bytes as the limit"],
  logLineBytes: ["test/unit/log_rewind.test.ts", "a line may have logLineBytes bytes, and no more"],
  knownHeaderBytes: [files, '"knownHeaderBytes and knownTensorBytes"'],
  knownTensorBytes: [files, '"knownHeaderBytes and knownTensorBytes"'],
  torchEntries: ["test/unit/torch_files.test.ts", "torchEntries and torchDirectoryBytes"],
  torchDirectoryBytes: ["test/unit/torch_files.test.ts", "torchEntries and torchDirectoryBytes"],
  torchPickleBytes: ["test/unit/torch_files.test.ts", "torchPickleBytes, torchOperations and torchNameBytes"],
  torchOperations: ["test/unit/torch_files.test.ts", "torchPickleBytes, torchOperations and torchNameBytes"],
  torchNameBytes: ["test/unit/torch_files.test.ts", "torchPickleBytes, torchOperations and torchNameBytes"],
  torchTensorBytes: ["test/unit/torch_files.test.ts", "torchTensorBytes, of all storages as often as they are read"],
  commitFiles: ["test/unit/commit.test.ts", "a commit may have commitFiles files, and no more"],
  stdinBytes: ["test/unit/stdin.test.ts", "a prompt is read to the limit", "each line of a conversation is read to"],
  rowNesting: [chat, "messages and tools that are deep, many or hold themselves are refused, at the limits"],
  runNameCharacters: [
    "test/unit/multi_trainer_errors.test.ts",
    "a name may have runNameCharacters characters, and no more",
  ],
  comparedSeeds: ["test/unit/compare_command.test.ts", "as many seeds as comparedSeeds are taken"],
  queuedEvents: ["test/unit/multi_trainer.test.ts", "wait for a reader, up to queuedEvents, and no more"],
  tokenId: ["test/unit/tokenizer_limits.test.ts", '"tokenId"'],
  unusedTokenIds: [schema, "the largest id of the vocabulary", "one past that"],
  addedTokens: [schema, "many added tokens", "one added token more"],
  tokenizerPartsBytes: ["test/unit/tokenizer_limits.test.ts", '"tokenizerPartsBytes"'],
  tokenizerEntryBytes: ["test/unit/tokenizer_limits.test.ts", '"tokenizerEntryBytes"'],
  tokenCharacters: [schema, '"a long token"', '"a longer one"'],
  addedTokenCharacters: [schema, "a long added token", "a longer added token"],
  pieceCharacters: [schema, '"a long piece"', '"a longer piece"'],
  components: [schema, "many components", "one more component"],
  componentDepth: [schema, "sequences in sequences (componentDepth)", "one level more"],
  patternCharacters: [schema, "a long pattern", "a longer pattern"],
  replacementCharacters: [schema, "a long replacement", "a longer replacement"],
  patternCost: [schema, "patterns that compare much", "patterns that compare more"],
  normalizerGrowth: [schema, '"great growth"', '"greater growth"', '"greater growth by decoders"'],
  textCharacters: [prompts, "a text has a limit, and one more character is refused"],
  quickCharacters: [prompts, "a text at the limit", "a longer text"],
  chatTemplates: ["test/unit/chat_templates.test.ts", "as many named templates as are allowed, and one more"],
  templateCharacters: [prompts, "a chat template has a limit, and one more character is refused"],
  templateWhitespace: [prompts, "whitespace of a chat template has a limit, and one more character is refused"],
  templateTokens: [chat, "a template of as many words and signs as are allowed, and of one more"],
  templateLevels: [chat, "blocks and operators in one another up to a limit, and one level more"],
  renderedCharacters: [chat, "characters of strings count once", "one character more is refused"],
  templateSteps: [chat, "a template of as many steps as are allowed, and of fewer than it needs"],
  turnMessages: ["test/unit/chat_spans.test.ts", "turns that are all different are rendered up to a limit"],
  quickTemplateSteps: [prompts, "a template of few steps", "a template of many"],
  largestFloat32: [numbers, "%j is accepted, %j refused"],
  smallestFloat32: [numbers, "%j is accepted, %j refused"],
  largestBeta: [numbers, "%j is accepted, %j refused"],
  ...Object.fromEntries(
    [...read(calls).matchAll(/^ {2}\["(\w+)", \(\w+\) =>/gm)].map(([, name]) => [name!, [calls, '"%s"']]),
  ),
  logitBiases: ["test/unit/sampling_options.test.ts", "a logit bias has at most so many ids"],
  mostLoraRank: ["test/unit/lora_adapter.test.ts", "takes the largest rank"],
  topLogProbabilities: ["test/unit/sampling_options.test.ts", "log-probabilities are asked for by true"],
  chatMessages: [calls, '["chatMessages"'],
  chatCharacters: [calls, '["chatCharacters"'],
  promptValues: [calls, '"promptValues"'],
  promptCharacters: [calls, 'test("promptCharacters"'],
  optionFields: [calls, 'test("optionFields"'],
  decodeIds: [calls, '["decodeIds"'],
  decodedCharacters: [calls, 'test("decodedCharacters"'],
  exampleIndices: [calls, '["exampleIndices"'],
  tensorElements: [calls, 'test("tensorElements"'],
  ...Object.fromEntries(
    ["servedName", "deadlineMs", "engineBytes", "maxSequences", "maxQueue", "stepMs", "keepVersions"].map((name) => [
      name,
      ["test/unit/engine_input.test.ts", `["${name}"`, "%s is accepted, and no more"],
    ]),
  ),
  deviceNumber: [calls, 'test("deviceNumber and deviceMemoryBytes"'],
  deviceMemoryBytes: [calls, 'test("deviceNumber and deviceMemoryBytes"'],
};

test("TypeScript and the core have the same numbers", () => {
  expect(native.size).toBeGreaterThan(19);
  for (const [name, value] of native) expect([name, constants.get(name)]).toEqual([name, value]);
  const models = header.split("// Model configuration and weights")[1]!.split("\n// ")[0]!;
  for (const [, name] of models.matchAll(/^constexpr \w+ k(\w+) /gm))
    expect(limits).toHaveProperty(name![0]!.toLowerCase() + name!.slice(1));
});

/** How a number may be written. */
function spelled(value: number): string[] {
  const forms = [value.toLocaleString("en-US"), String(value), `${value / 1024} KiB`];
  forms.push(`2^${Math.log2(value)}`, `2^${Math.log2(value + 1)} - 1`, `1 - 2^${Math.log2(1 - value)}`);
  return forms;
}
const rows = docs
  .split("\n")
  .filter((line) => line.startsWith("| ") && !line.startsWith("| limit |"))
  .map((line) => line.split(" | "));
const namesIn = (text: string) =>
  [...text.matchAll(/`(\w+)`/g)].map(([, name]) => name!).filter((name) => constants.has(name));
/** Limits whose excess is not an error: described in a sentence, not a row. */
const sentences = ["quickCharacters", "quickTemplateSteps"];

test("each row of docs/limits.md names its constants, and has their numbers and a code", () => {
  expect(rows.length).toBeGreaterThan(70);
  const wrong = rows.filter(([limit, value, ...rest]) => {
    const names = namesIn(limit!);
    let text = ` ${value} `;
    for (const name of names) {
      const form = spelled(constants.get(name)!).find((one) => text.includes(` ${one} `) || text.includes(` ${one},`));
      if (form === undefined) return true;
      text = text.replace(form, "");
    }
    return names.length === 0 || !/ERR_[A-Z]+|the same|skipped/.test(rest.join());
  });
  expect(wrong).toEqual([]);
});

test("each constant has a row", () => {
  const listed = new Set(rows.flatMap(([limit]) => namesIn(limit!)));
  expect([...constants.keys()].filter((name) => !listed.has(name))).toEqual(sentences);
  for (const name of sentences)
    expect(docs).toMatch(new RegExp(` ${constants.get(name)!.toLocaleString("en-US")} \\w+ \\(\`${name}\`\\)`));
});

test("each constant has a test that tries it", () => {
  expect(Object.keys(tested).sort()).toEqual([...constants.keys()].sort());
  const missing = Object.entries(tested).filter(([name, [file, ...titles]]) => {
    const text = read(file);
    const used = file.endsWith(".cc") && name in limits ? `kM${name.slice(1)}` : name;
    return (
      titles.length === 0 || !new RegExp(`\\b${used}\\b`).test(text) || !titles.every((title) => text.includes(title))
    );
  });
  expect(missing).toEqual([]);
});
