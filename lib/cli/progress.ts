import type { Writable } from "node:stream";
import { oneLine } from "../errors";
import { clipped, textWidth } from "./text";

/** A stream that may be a terminal. */
export type Output = Writable & { readonly isTTY?: boolean; readonly columns?: number };

const redrawEveryMs = 100;
const lineEveryMs = 5000;
const widestBar = 24;
const narrowestBar = 5;
/** Shorter work gets no plain line. */
const firstLineAfterMs = 1500;

/** Shows progress: one line that is rewritten on a terminal, a plain line at intervals elsewhere. */
export class ProgressLine {
  private shown = false;
  private last: number;

  constructor(
    private readonly stream: Output,
    private readonly enabled: boolean,
    private readonly now: () => number = () => performance.now(),
  ) {
    this.last = this.beginning();
  }

  /**
   * @param share done, from 0 to 1
   * @param words text after the bar
   * @param always shows it even if the last one was just shown
   */
  show(share: number, words: string, always = false): void {
    if (!this.enabled) return;
    const isTty = this.stream.isTTY === true;
    const now = this.now();
    if (!always && now - this.last < (isTty ? redrawEveryMs : lineEveryMs)) return;
    this.last = now;
    const text = oneLine(words);
    if (!isTty) {
      this.stream.write(`${text}\n`);
      return;
    }
    const columns = (this.stream.columns ?? 80) - 1;
    const room = columns - textWidth(text) - "[] ".length;
    const width = Math.min(widestBar, Math.max(narrowestBar, room));
    this.stream.write(`\r\u001b[K${clipped(`${bar(share, width)} ${text}`, columns)}`);
    this.shown = true;
  }

  /** Clears the line, so that something else can be written. */
  clear(): void {
    if (this.shown) this.stream.write("\r\u001b[K");
    this.shown = false;
  }

  /** Resets for the next task. */
  restart(): void {
    this.clear();
    this.last = this.beginning();
  }

  /** The initial time of the last line, so that the first line is not delayed too long. */
  private beginning(): number {
    return this.stream.isTTY ? Number.NEGATIVE_INFINITY : this.now() - lineEveryMs + firstLineAfterMs;
  }
}

function bar(share: number, width: number): string {
  const filled = Math.round(Math.min(1, Math.max(0, share)) * width);
  return `[${"#".repeat(filled)}${".".repeat(width - filled)}]`;
}
