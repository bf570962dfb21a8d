/** Reports of rows that are skipped or truncated: the first of them one by one, and all of them counted by reason. */
import type { ReasonReport, RowReport } from "./types";

export const keptReports = 1000;
/** Reasons that are counted one by one; further ones are counted together. */
const keptReasons = 50;
const linesOfAReason = 5;

const others = "other reasons";

/** The part of a reason that rows have in common: places and counts differ from row to row. */
function commonPart(reason: string): string {
  return reason.replace(/^(not valid JSON):.*/s, "$1").replace(/\d+/g, "N");
}

export class RowReports {
  readonly first: RowReport[] = [];
  readonly counts = { skipped: 0, truncated: 0 };
  private readonly byReason = new Map<string, ReasonReport & { count: number; lines: number[] }>();

  add(line: number, kind: RowReport["kind"], reason: string): void {
    this.counts[kind]++;
    if (this.first.length < keptReports) this.first.push({ line, kind, reason });
    let key = `${kind} ${commonPart(reason)}`;
    const isNew = !this.byReason.has(key);
    const full = isNew && this.byReason.size >= keptReasons;
    if (full) key = `${kind} ${others}`;
    let known = this.byReason.get(key);
    if (!known) {
      known = { kind, reason: full ? others : reason, count: 0, lines: [] };
      this.byReason.set(key, known);
    }
    known.count++;
    if (known.lines.length < linesOfAReason) known.lines.push(line);
  }

  /** In the order of their first rows. */
  get reasons(): ReasonReport[] {
    return [...this.byReason.values()];
  }
}
