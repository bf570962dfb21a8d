/**
 * Which tokenizer.json is supported: an allowlist of types, fields and values. Everything else is refused, because
 * @huggingface/tokenizers and this package would ignore it, and token ids would differ from those of the Rust library
 * (tokenizers 0.23) without an error.
 */
import { invalid, quoted, RubricateError } from "../errors";
import { isObject, type JsonObject } from "../files/json";
import { limits } from "../limits";
import { normalizerGrowth, patternCost, regexOf } from "./costs";

/** What a field may hold. A field may also be absent, unless it is required. */
interface Rule {
  readonly expected: string;
  readonly accepts: (value: unknown) => boolean;
}
interface Kind {
  readonly fields: Readonly<Record<string, Rule>>;
  readonly required?: readonly string[];
  /** Field that holds components of the same part. */
  readonly children?: string;
}

const flag: Rule = { expected: "true or false", accepts: (value) => typeof value === "boolean" };
const string: Rule = { expected: "a string", accepts: (value) => typeof value === "string" };
const shortText: Rule = {
  expected: `a string of at most ${limits.replacementCharacters} characters`,
  accepts: (value) => typeof value === "string" && value.length <= limits.replacementCharacters,
};
const count: Rule = {
  expected: `an integer from 0 to ${limits.tokenCharacters}`,
  accepts: (value) => Number.isInteger(value) && (value as number) >= 0 && (value as number) <= limits.tokenCharacters,
};
const object: Rule = { expected: "an object", accepts: isObject };
const objectOrNull: Rule = { expected: "an object or null", accepts: (value) => value === null || isObject(value) };
const list: Rule = { expected: "a list", accepts: Array.isArray };
const only = (...values: unknown[]): Rule => ({
  expected: values.map((value) => JSON.stringify(value)).join(" or "),
  accepts: (value) => values.includes(value),
});
const pattern: Rule = {
  expected: `{"String": ...} or {"Regex": ...} of 1 to ${limits.patternCharacters} characters`,
  accepts: (value) => {
    if (!isObject(value) || Object.keys(value).length !== 1) return false;
    const source = value.String ?? value.Regex;
    return typeof source === "string" && source !== "" && source.length <= limits.patternCharacters;
  },
};
const tokenAndId: Rule = {
  expected: "[token, id]",
  accepts: (value) =>
    Array.isArray(value) && value.length === 2 && typeof value[0] === "string" && Number.isInteger(value[1]),
};

const byteLevel: Kind = { fields: { add_prefix_space: flag, trim_offsets: flag, use_regex: flag } };
const metaspace: Kind = {
  fields: {
    replacement: only("▁"),
    str_rep: only("▁"),
    prepend_scheme: only("always", "first", "never"),
    add_prefix_space: flag,
    split: flag,
  },
};
const behavior = only("Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous");
const replace: Kind = { fields: { pattern, content: shortText }, required: ["pattern", "content"] };
const plain: Kind = { fields: {} };
const classification: Kind = {
  fields: { sep: tokenAndId, cls: tokenAndId, trim_offsets: flag, add_prefix_space: flag },
  required: ["sep", "cls"],
};

const parts: Readonly<Record<string, Readonly<Record<string, Kind>>>> = {
  normalizer: {
    Sequence: { fields: { normalizers: list }, children: "normalizers" },
    Prepend: { fields: { prepend: shortText }, required: ["prepend"] },
    Replace: replace,
    Strip: { fields: { strip_left: flag, strip_right: flag }, required: ["strip_left", "strip_right"] },
    StripAccents: plain,
    Lowercase: plain,
    NFC: plain,
    NFD: plain,
    NFKC: plain,
    NFKD: plain,
    Nmt: plain,
  },
  pre_tokenizer: {
    Sequence: { fields: { pretokenizers: list }, children: "pretokenizers" },
    ByteLevel: byteLevel,
    Metaspace: metaspace,
    Split: {
      fields: { pattern, behavior, invert: flag },
      required: ["pattern", "behavior", "invert"],
    },
    Digits: { fields: { individual_digits: flag } },
    Punctuation: { fields: { behavior: only("Isolated", "Removed", "Contiguous") } },
    Whitespace: plain,
    WhitespaceSplit: plain,
    BertPreTokenizer: plain,
  },
  post_processor: {
    Sequence: { fields: { processors: list }, children: "processors" },
    ByteLevel: byteLevel,
    TemplateProcessing: { fields: { single: list, pair: list, special_tokens: object }, required: ["single"] },
    BertProcessing: { fields: { sep: tokenAndId, cls: tokenAndId }, required: ["sep", "cls"] },
    RobertaProcessing: classification,
  },
  decoder: {
    Sequence: { fields: { decoders: list }, children: "decoders" },
    ByteLevel: byteLevel,
    Metaspace: metaspace,
    Replace: replace,
    Strip: { fields: { content: string, start: count, stop: count }, required: ["content", "start", "stop"] },
    ByteFallback: plain,
    Fuse: plain,
  },
};

/** A prefix or suffix of "" changes nothing. */
const noAffix = only(null, "");
const flagOrNull: Rule = { expected: "true, false or null", accepts: (value) => value === null || flag.accepts(value) };

const isId = (value: unknown) => Number.isInteger(value) && (value as number) >= 0;

const model: Kind = {
  fields: {
    type: only("BPE"),
    dropout: only(null, 0), // a merge that is skipped at random gives other ids
    unk_token: { expected: "a string or null", accepts: (value) => value === null || string.accepts(value) },
    continuing_subword_prefix: noAffix,
    continuing_subword_suffix: noAffix,
    end_of_word_suffix: noAffix,
    fuse_unk: flagOrNull,
    byte_fallback: flagOrNull,
    ignore_merges: flagOrNull,
  },
};

const unigram: Kind = {
  fields: {
    type: only("Unigram"),
    unk_id: { expected: "an id or null", accepts: (value) => value === null || isId(value) },
    byte_fallback: flagOrNull,
  },
};

/** transformers sets truncation and padding by its own arguments, so that those of the file have no effect. */
const root: Kind = {
  fields: {
    version: only("1.0"),
    truncation: objectOrNull,
    padding: objectOrNull,
    added_tokens: { expected: "a list or null", accepts: (value) => value === null || Array.isArray(value) },
    normalizer: objectOrNull,
    pre_tokenizer: objectOrNull,
    post_processor: objectOrNull,
    decoder: objectOrNull,
    model: object,
  },
};

const addedToken: Kind = {
  fields: {
    id: {
      expected: `an integer from 0 to ${limits.tokenId}`,
      accepts: (id) => Number.isInteger(id) && (id as number) >= 0 && (id as number) <= limits.tokenId,
    },
    content: {
      expected: `a string of 1 to ${limits.addedTokenCharacters} characters`,
      accepts: (text) => typeof text === "string" && text !== "" && text.length <= limits.addedTokenCharacters,
    },
    single_word: flag,
    lstrip: flag,
    rstrip: flag,
    normalized: flag,
    special: flag,
    __type: only("AddedToken"),
  },
  required: ["id", "content"],
};

function checkFields(value: JsonObject, kind: Kind, where: string, file: string): void {
  for (const [name, field] of Object.entries(value)) {
    if (name === "type" && kind.fields.type === undefined) continue;
    const rule = Object.hasOwn(kind.fields, name) ? kind.fields[name] : undefined;
    const place = where === "" ? name : `${where}.${name}`;
    if (rule === undefined) throw new RubricateError("ERR_TOKENIZER", `Unsupported field ${quoted(place)} in ${file}`);
    if (!rule.accepts(field)) throw invalid(`${place} in ${file}`, rule.expected, field, "ERR_TOKENIZER");
  }
  for (const name of kind.required ?? [])
    if (!Object.hasOwn(value, name))
      throw invalid(`${where}.${name} in ${file}`, kind.fields[name]!.expected, undefined, "ERR_TOKENIZER");
}

/** The components of a normalizer, pre-tokenizer, post-processor or decoder, without its sequences. */
export function componentsOf(part: string, component: unknown): JsonObject[] {
  if (!isObject(component)) return [];
  const children = parts[part]?.[component.type as string]?.children;
  if (!children) return [component];
  return ((component[children] ?? []) as unknown[]).flatMap((inner) => componentsOf(part, inner));
}

function checkComponent(part: string, component: unknown, where: string, file: string, depth: number): void {
  const kinds = parts[part]!;
  const type = isObject(component) ? component.type : undefined;
  const kind = typeof type === "string" && Object.hasOwn(kinds, type) ? kinds[type] : undefined;
  if (kind === undefined || !isObject(component))
    throw invalid(`${where}.type in ${file}`, `one of ${Object.keys(kinds).join(", ")}`, type, "ERR_TOKENIZER");
  checkFields(component, kind, where, file);
  const regex = isObject(component.pattern) ? component.pattern.Regex : undefined;
  if (typeof regex === "string" && !regexOf(part, component))
    throw invalid(
      `${where}.pattern in ${file}`,
      "a small pattern that is known to take time in proportion to the text",
      regex,
      "ERR_TOKENIZER",
    );
  if (!kind.children) return;
  const children = (component[kind.children] ?? []) as unknown[];
  if (depth === limits.componentDepth || children.length > limits.components)
    throw new RubricateError(
      "ERR_TOKENIZER",
      `Expected at most ${limits.components} components in ${limits.componentDepth} levels for ${where} in ${file}`,
    );
  for (const [at, child] of children.entries())
    checkComponent(part, child, `${where}.${kind.children}[${at}]`, file, depth + 1);
}

/** Patterns that are each linear may still take long together, and normalizers and decoders make much of a short text. */
function checkCosts(tokenizer: JsonObject, file: string): void {
  let cost = 0;
  for (const part of Object.keys(parts))
    for (const one of componentsOf(part, tokenizer[part])) cost += patternCost(part, one);
  if (cost > limits.patternCost)
    throw new RubricateError(
      "ERR_TOKENIZER",
      `Expected patterns that compare at most ${limits.patternCost} characters at each place of a text in ${file} but received ones that compare up to ${cost}`,
    );
  for (const [part, what] of [
    ["normalizer", "text"],
    ["decoder", "token"],
  ] as const) {
    const growth = normalizerGrowth(componentsOf(part, tokenizer[part]));
    if (growth > limits.normalizerGrowth)
      throw new RubricateError(
        "ERR_TOKENIZER",
        `Expected a ${part} in ${file} that makes a ${what} at most ${limits.normalizerGrowth} times as long but received one that may make it ${growth} times as long`,
      );
  }
}

/** @throws {RubricateError} ERR_TOKENIZER naming the first field that is not supported */
export function checkComponents(tokenizer: JsonObject, file: string): void {
  checkEach(tokenizer, file);
  checkCosts(tokenizer, file);
}

function checkEach(tokenizer: JsonObject, file: string): void {
  for (const part of Object.keys(parts)) {
    const component = tokenizer[part] ?? null;
    if (component === null) continue;
    checkComponent(part, component, part, file, 0);
    const all = componentsOf(part, component);
    if (all.length > limits.components)
      throw new RubricateError(
        "ERR_TOKENIZER",
        `Expected at most ${limits.components} components for ${part} in ${file}`,
      );
    // Each of these encodes the bytes or spaces of the one before once more.
    for (const type of ["ByteLevel", "Metaspace"]) {
      const places = all.flatMap((one, at) => (one.type === type ? [at] : []));
      const misplaced = places.length > 1 || (part === "pre_tokenizer" && type === "Metaspace" && places[0]! > 0);
      if (misplaced && part !== "post_processor")
        throw new RubricateError(
          "ERR_TOKENIZER",
          `Expected one ${type} at most, in its usual place, for ${part} in ${file}`,
        );
    }
    for (const one of all) {
      if (one.type !== "Metaspace" || one.add_prefix_space !== false || one.prepend_scheme === "never") continue;
      throw invalid(
        `prepend_scheme of ${part} in ${file}`,
        '"never" with add_prefix_space false',
        one.prepend_scheme,
        "ERR_TOKENIZER",
      );
    }
    for (const one of all)
      if (part === "decoder" && one.type === "Strip" && [...(one.content as string)].length !== 1)
        throw invalid(`content of Strip in ${file}`, "one character", one.content, "ERR_TOKENIZER");
  }
}

/**
 * Checks everything of tokenizer.json but its tokens, its merges and the components.
 * @throws {RubricateError} ERR_TOKENIZER naming the first field that is not supported
 */
export function checkDocument(tokenizer: JsonObject, file: string): void {
  checkFields(tokenizer, root, "", file);
  const parsed = tokenizer.model as JsonObject;
  checkFields(parsed, parsed.type === "Unigram" ? unigram : model, "model", file);
}

/** @throws {RubricateError} ERR_TOKENIZER */
export function checkAddedToken(token: unknown, where: string, file: string): asserts token is JsonObject {
  if (!isObject(token)) throw invalid(`${where} in ${file}`, "an object", token, "ERR_TOKENIZER");
  checkFields(token, addedToken, where, file);
}

/** Tokens that a post-processor adds to the text, with the ids that it gives them. */
function* processorTokens(component: JsonObject, file: string): Generator<[token: string, id: unknown]> {
  if (component.type === "ByteLevel") return;
  if (component.type !== "TemplateProcessing") {
    yield component.cls as [string, number];
    yield component.sep as [string, number];
    return;
  }
  const special = (component.special_tokens ?? {}) as JsonObject;
  let texts = 0;
  for (const item of component.single as unknown[]) {
    const entry = isObject(item) ? Object.entries(item) : [];
    const [name, content] = entry.length === 1 ? entry[0]! : ["", undefined];
    const id = isObject(content) ? content.id : undefined;
    if (name === "Sequence" && id === "A") texts++;
    else if (name === "SpecialToken" && typeof id === "string") {
      const definition = Object.hasOwn(special, id) ? special[id] : undefined;
      const ids = isObject(definition) ? definition.ids : undefined;
      if (definition !== undefined && !(Array.isArray(ids) && ids.length === 1))
        throw invalid(`special_tokens[${quoted(id)}].ids in ${file}`, "a list of one id", ids, "ERR_TOKENIZER");
      yield [id, Array.isArray(ids) ? ids[0] : undefined];
    } else
      throw invalid(`an item of post_processor.single in ${file}`, "SpecialToken or Sequence A", name, "ERR_TOKENIZER");
  }
  if (texts !== 1) throw invalid(`post_processor.single in ${file}`, "Sequence A once", texts, "ERR_TOKENIZER");
}

/**
 * Checks that each token of the post-processor has the id that the vocabulary gives it.
 * @throws {RubricateError} ERR_TOKENIZER
 */
export function checkProcessor(processor: unknown, idOf: (token: string) => number | undefined, file: string): void {
  for (const component of componentsOf("post_processor", processor))
    for (const [token, id] of processorTokens(component, file)) {
      const own = idOf(token);
      if (own === undefined)
        throw invalid(`a token of post_processor in ${file}`, "a token of the vocabulary", token, "ERR_TOKENIZER");
      if (id !== undefined && id !== own)
        throw invalid(`the id of ${quoted(token)} in post_processor of ${file}`, String(own), id, "ERR_TOKENIZER");
    }
}
