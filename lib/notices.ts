/** Notices: what a caller should know about files or arguments that are unusual but accepted. */

/** Stable names of notices; docs/folders.md describes them. */
export type NoticeCode =
  | "RUBRICATE_HEAD_NOT_TIED"
  | "RUBRICATE_NO_END_TOKEN"
  | "RUBRICATE_TOKENIZER_CLASS"
  | "RUBRICATE_CHAT_TEMPLATE_CHANGED"
  | "RUBRICATE_TOKENIZER_CHANGED"
  | "RUBRICATE_BASE_MISMATCH"
  | "RUBRICATE_BASE_UNKNOWN"
  | "RUBRICATE_TOOLS_IGNORED";

export interface Notice {
  /** Stable: code may branch on it. */
  readonly code: NoticeCode;
  /** For people. */
  readonly message: string;
}

/**
 * Passes notices to the caller's function. Without one, emits each as a process warning named RubricateNotice, which Node
 * prints.
 */
export function reportNotices(notices: readonly Notice[], onNotice: ((notice: Notice) => void) | undefined): void {
  for (const notice of notices)
    if (onNotice) onNotice(notice);
    else process.emitWarning(notice.message, { type: "RubricateNotice", code: notice.code });
}
