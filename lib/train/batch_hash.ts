/** A SHA-256 of the batches of a run: what was trained on, in which order. */
import { createHash } from "node:crypto";
import type { NativeMicroBatch } from "../native";

/**
 * The SHA-256 of an optimizer step's micro-batches: their token ids, the targets of the supervised ones, and where sequences
 * begin. The slots are not part of it: they say what is trained, not on what.
 */
export function stepDigest(microBatches: readonly NativeMicroBatch[]): Buffer {
  const hash = createHash("sha256");
  for (const { tokenIds, sequenceStarts, targets } of microBatches) {
    hash.update(Int32Array.of(tokenIds.length, sequenceStarts.length, targets?.length ?? 0));
    for (const part of [sequenceStarts, tokenIds, targets]) if (part) hash.update(part);
  }
  return hash.digest();
}

/** The digests of a run's steps, in their order, as one. */
export class BatchHash {
  private readonly hash = createHash("sha256");

  add(digest: Buffer): void {
    this.hash.update(digest);
  }

  /** Of the steps so far, in hexadecimal. */
  get text(): string {
    return this.hash.copy().digest("hex");
  }
}
