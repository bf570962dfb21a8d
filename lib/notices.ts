/** What a caller should know of files that were loaded, where nothing is wrong enough to refuse them. */

/** Stable names of notices; docs/folders.md describes them. */
export type NoticeCode =
  | "RUBRICATE_HEAD_NOT_TIED"
  | "RUBRICATE_NO_END_TOKEN"
  | "RUBRICATE_CHAT_TEMPLATE_CHANGED"
  | "RUBRICATE_TOKENIZER_CHANGED"
  | "RUBRICATE_BASE_MISMATCH";

export interface Notice {
  /** Stable: code may branch on it. */
  readonly code: NoticeCode;
  /** For people. */
  readonly message: string;
}

/**
 * Tells of notices: the caller's function, or else the process, which prints a warning of the name RubricateNotice and emits
 * its "warning" event.
 */
export function tell(notices: readonly Notice[], onNotice: ((notice: Notice) => void) | undefined): void {
  for (const notice of notices)
    if (onNotice) onNotice(notice);
    else process.emitWarning(notice.message, { type: "RubricateNotice", code: notice.code });
}
