/** Compares a model with the one that an adapter was trained on: the weights, and the token ids of the same text. */
import { createHash } from "node:crypto";
import { quoted } from "../errors";
import type { LlamaModel } from "../model/model";
import type { Notice } from "../notices";
import { templatesText } from "../tokenizer/chat_templates";
import type { Tokenizer } from "../tokenizer/tokenizer";
import type { AdapterOrigin } from "./config";

/** How an adapter's base differs from a model, in a sentence; undefined if it is the same. */
export async function baseMismatch(dir: string, file: AdapterOrigin, model: LlamaModel): Promise<string | undefined> {
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
export function tokenizerNotices(dir: string, trained: Hashes, model: LlamaModel): Notice[] {
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
