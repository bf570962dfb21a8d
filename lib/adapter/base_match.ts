/** Whether an adapter's model has the weights that it was trained on, and makes the same token ids of the same text. */
import { createHash } from "node:crypto";
import { quoted } from "../errors";
import type { LlamaModel } from "../model/model";
import type { Notice } from "../notices";
import { templatesText } from "../tokenizer/chat_templates";
import type { Tokenizer } from "../tokenizer/tokenizer";
import type { AdapterFileConfig } from "./config";

/** What tells an adapter's base from a model, in a sentence; undefined where it is the same. */
export async function baseMismatch(
  dir: string,
  file: AdapterFileConfig,
  model: LlamaModel,
): Promise<string | undefined> {
  const own = await model.fingerprint();
  const part = (["architecture", "weights"] as const).find((name) => own[name] !== file.base[name]);
  return (
    part &&
    `Expected an adapter of ${model.dir} (${part} ${own[part]}) but the one in ${dir} was trained on ` +
      `${quoted(file.base.name)} (${part} ${file.base[part]})`
  );
}

type Hashes = AdapterFileConfig["tokenizer"];

/** What adapter_config.json says of a tokenizer. */
export function tokenizerHashes(tokenizer: Tokenizer | undefined): Hashes {
  if (!tokenizer) return null;
  const { hash } = tokenizer;
  const templates = tokenizer.parts.chatTemplates;
  return {
    hash,
    template: templates === undefined ? null : createHash("sha256").update(templatesText(templates)).digest("hex"),
  };
}

/** What differs, one notice for each thing. Without a tokenizer on either side nothing can differ but token ids that callers make. */
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
  const shown = (hash: string | null | undefined) => hash ?? "none";
  return [
    {
      code: "RUBRICATE_CHAT_TEMPLATE_CHANGED",
      message:
        `${model.dir} has another chat template (${shown(own.template)}) than ${was} (${shown(trained.template)}), and perhaps ` +
        "another tokenizer: conversations become other token ids",
    },
  ];
}
