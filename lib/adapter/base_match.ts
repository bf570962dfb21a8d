/** Compares a model with the one that an adapter was trained on: the weights, and the token ids of the same text. */
import { createHash } from "node:crypto";
import { basename } from "node:path";
import { quoted, RubricateError } from "../errors";
import type { LanguageModel } from "../model/model";
import { native } from "../native";
import type { Notice } from "../notices";
import { templatesText } from "../tokenizer/chat_templates";
import type { Tokenizer } from "../tokenizer/tokenizer";
import type { AdapterOrigin } from "./config";

/** What an adapter of a model is trained with. */
export async function originOf(model: LanguageModel): Promise<AdapterOrigin> {
  const base = { ...(await model.fingerprint()), name: basename(model.dir) };
  return { format: 1, base, tokenizer: tokenizerHashes(model.tokenizer), rubricate: native().version };
}

/** How an adapter's base differs from a model, in a sentence; undefined if it is the same. */
export async function baseMismatch(
  dir: string,
  file: AdapterOrigin,
  model: LanguageModel,
): Promise<string | undefined> {
  const own = await model.fingerprint();
  const part = (["architecture", "weights"] as const).find((name) => own[name] !== file.base[name]);
  return (
    part &&
    `Expected an adapter of ${model.dir} (${part} ${own[part]}) but the one in ${dir} was trained on ` +
      `${quoted(file.base.name)} (${part} ${file.base[part]})`
  );
}

type Hashes = AdapterOrigin["tokenizer"];

/** The hashes of a tokenizer in adapter_config.json. */
export function tokenizerHashes(tokenizer: Tokenizer | undefined): Hashes {
  if (!tokenizer) return null;
  const { hash } = tokenizer;
  const templates = tokenizer.parts.chatTemplates;
  return {
    hash,
    template: templates === undefined ? null : createHash("sha256").update(templatesText(templates)).digest("hex"),
  };
}

/** One notice for each difference. If either side has no tokenizer, there is nothing to compare. */
export function tokenizerNotices(dir: string, trained: Hashes, model: LanguageModel): Notice[] {
  const own = tokenizerHashes(model.tokenizer);
  if (!trained || !own || trained.hash === own.hash) return [];
  const was = `the adapter in ${dir} was trained with`;
  if (trained.template === undefined || trained.template === own.template)
    return [
      {
        code: "RUBRICATE_TOKENIZER_CHANGED",
        message:
          `${model.dir} has another tokenizer${trained.template === undefined ? " or chat template" : ""} (${own.hash}) than ` +
          `${was} (${trained.hash}): the same text becomes other token ids`,
      },
    ];
  const hashText = (hash: string | null | undefined) => hash ?? "none";
  return [
    {
      code: "RUBRICATE_CHAT_TEMPLATE_CHANGED",
      message:
        `${model.dir} has another chat template (${hashText(own.template)}) than ${was} (${hashText(trained.template)}), and perhaps ` +
        "another tokenizer: conversations become other token ids",
    },
  ];
}

/**
 * How a model differs from the one that a folder of PEFT's format records; undefined: it records none.
 * @throws RubricateError ERR_BASE_MISMATCH
 */
export async function originNotices(
  folder: string,
  origin: AdapterOrigin | undefined,
  model: LanguageModel,
  takesAny: boolean,
): Promise<Notice[]> {
  if (!origin)
    return [
      {
        code: "RUBRICATE_BASE_UNKNOWN",
        message: `The adapter in ${folder} does not record the weights that it was trained on: only its shapes were compared with ${model.dir}`,
      },
    ];
  const mismatch = await baseMismatch(folder, origin, model);
  if (mismatch !== undefined && !takesAny)
    throw new RubricateError("ERR_BASE_MISMATCH", `${mismatch}; allowBaseMismatch accepts it`);
  const notices = tokenizerNotices(folder, origin.tokenizer, model);
  if (mismatch !== undefined) notices.unshift({ code: "RUBRICATE_BASE_MISMATCH", message: mismatch });
  return notices;
}
