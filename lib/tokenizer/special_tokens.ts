/**
 * The special tokens that tokenizer_config.json and special_tokens_map.json name, as transformers 5 reads them
 * (`PreTrainedTokenizerBase.__init__` and `_from_pretrained`).
 */
import { invalid } from "../errors";
import { isObject, type JsonObject } from "../files/json";
import { limits } from "../limits";

const standardNames = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];
const extraNames = ["extra_special_tokens", "additional_special_tokens"] as const;

/** Whether this member of a document may name special tokens: a model's own names also end in `_token`. */
export const namesTokens = (member: string) =>
  member.endsWith("_token") || (extraNames as readonly string[]).includes(member);

export interface SpecialTokens {
  /** By name: the standard ones, then the model's own, such as `image_token`. `content` and flags as the files have them. */
  readonly named: ReadonlyMap<string, JsonObject>;
  /** Those without a name. */
  readonly extra: readonly JsonObject[];
  /** Contents that make a token of added_tokens.json a special one: an object of the config does not. */
  readonly contents: ReadonlySet<string>;
}

/** Special tokens that a class of transformers has by default, and gives to its base class as arguments. */
export interface ClassTokens {
  readonly standard: JsonObject;
  /** The model's own. The class also lists them as extra tokens. */
  readonly own: JsonObject;
}
export const noClassTokens: ClassTokens = { standard: {}, own: {} };

/** A token as an object; undefined where the value is none. A string is a special token. */
function tokenOf(value: unknown, special: boolean): JsonObject | undefined {
  if (typeof value === "string") return value === "" ? undefined : { content: value, special: true };
  if (!isObject(value) || typeof value.content !== "string" || value.content === "") return undefined;
  return special ? { ...value, special: true } : value;
}

/**
 * special_tokens_map.json counts only without `added_tokens_decoder` in tokenizer_config.json, and then more than the config.
 * @param file the config's name, for errors
 * @throws {RubricateError} ERR_TOKENIZER
 */
export function specialTokensOf(
  given: JsonObject,
  map: JsonObject,
  file: string,
  defaults = noClassTokens,
): SpecialTokens {
  const config = { ...defaults.standard, ...given };
  const beside = Object.hasOwn(config, "added_tokens_decoder") ? {} : map;
  const own = argumentsOf(config, beside, defaults);
  const { list, byName } = extraOf(
    config,
    beside,
    Object.keys(defaults.own).map((name) => own.values[name]),
  );
  const found = namedIn(config, own, byName);
  const extra = list.flatMap(({ value, special }): JsonObject[] => {
    const token = tokenOf(value, special);
    return token ? [token] : [];
  });
  const count = found.size + extra.length;
  if (count > limits.addedTokens)
    throw invalid(`the number of special tokens in ${file}`, `at most ${limits.addedTokens}`, count, "ERR_TOKENIZER");
  return { named: found, extra, contents: contentsOf(config, beside, list) };
}

function contentsOf(config: JsonObject, map: JsonObject, extra: Listed): Set<string> {
  const contents = new Set<string>();
  const add = (value: unknown, mapped: boolean) => {
    const content = isObject(value) && mapped ? value.content : value;
    if (typeof content === "string") contents.add(content);
  };
  for (const name of standardNames)
    if (Object.hasOwn(map, name)) add(map[name], true);
    else add(config[name], false);
  for (const { value, special } of extra) add(value, special);
  return contents;
}

const isStandard = (name: string) => standardNames.includes(name);

/** Tokens that are arguments of the class, by name, and which of them special_tokens_map.json gives as objects. */
interface Arguments {
  readonly values: JsonObject;
  readonly mapped: ReadonlySet<string>;
}

/** All but the strings in the config that name tokens of the model's own. */
function argumentsOf(config: JsonObject, map: JsonObject, defaults: ClassTokens): Arguments {
  const values: JsonObject = { ...defaults.own };
  const mapped = new Set<string>();
  for (const [name, value] of Object.entries(config))
    if (name.endsWith("_token") && (isStandard(name) || typeof value !== "string")) values[name] = value;
  for (const [name, value] of Object.entries(map))
    if (name.endsWith("_token")) {
      values[name] = value;
      if (isObject(value)) mapped.add(name);
      else mapped.delete(name);
    }
  return { values, mapped };
}

/**
 * Tokens by name. Of a standard name the map's counts; of another one, first that of the object of extra tokens, then a string
 * in the config, then the map's, then that of the class.
 */
function namedIn(config: JsonObject, { values, mapped }: Arguments, byName: JsonObject): Map<string, JsonObject> {
  const explicit: JsonObject = {};
  for (const [name, value] of Object.entries(config))
    if (name.endsWith("_token") && !isStandard(name) && typeof value === "string") explicit[name] = value;
  Object.assign(explicit, byName);
  const found = new Map<string, JsonObject>();
  for (const name of [...standardNames, ...Object.keys(values), ...Object.keys(explicit)]) {
    const isExplicit = !isStandard(name) && Object.hasOwn(explicit, name);
    const token = tokenOf(isExplicit ? explicit[name] : values[name], !isExplicit && mapped.has(name));
    if (token && !found.has(name)) found.set(name, token);
  }
  return found;
}

/** Extra tokens of a list. */
type Listed = readonly { readonly value: unknown; readonly special: boolean }[];

/**
 * The tokens without a name, and those of an object, which have names: the steps of transformers, one by one.
 * @param ofClass tokens that the class adds to the older of the two lists
 */
function extraOf(
  config: JsonObject,
  map: JsonObject,
  ofClass: readonly unknown[],
): { list: Listed; byName: JsonObject } {
  const [newer, older] = extraNames;
  const byName: JsonObject = {};
  const lists = new Map<string, Listed>();
  const takeObject = (value: unknown) => {
    if (isObject(value)) Object.assign(byName, value);
    return isObject(value);
  };
  const own = (value: unknown): Listed =>
    Array.isArray(value) ? value.map((one) => ({ value: one, special: false })) : [];
  const isEmpty = (value: unknown) => !value || (typeof value === "object" && Object.keys(value).length === 0);
  if (Object.hasOwn(config, older) && isEmpty(config[newer])) lists.set(newer, own(config[older]));
  else {
    if (Object.hasOwn(config, newer) && !takeObject(config[newer])) lists.set(newer, own(config[newer]));
    if (Object.hasOwn(config, older)) lists.set(older, own(config[older]));
  }
  if (Array.isArray(map[newer])) {
    const known = lists.get(newer) ?? [];
    const added = map[newer].filter((value) => !known.some((one) => one.value === value));
    lists.set(newer, [...known, ...added.map((value) => ({ value, special: true }))]);
  } else if (takeObject(map[newer])) lists.delete(newer);
  if (Array.isArray(map[older]))
    lists.set(
      older,
      map[older].map((value) => ({ value, special: isObject(value) && !Object.hasOwn(value, "__type") })),
    );
  return { list: lists.get(newer) ?? [...(lists.get(older) ?? []), ...own([...ofClass])], byName };
}
