/**
 * TensorBoard's event files: records of length, masked CRC-32C of the length, data, masked CRC-32C of the data
 * (tensorflow/core/lib/io/record_writer.h); the data are `Event` messages (tensorflow/core/util/event.proto) of protocol
 * buffers, here with one scalar each.
 */
import type { FileHandle } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { withFileErrors } from "../files/atomic";
import { openLog } from "../files/log";
import type { TrainEvent } from "./events";

/** Prefix of the names of event files. */
export const eventFilePrefix = "events.out.tfevents.";

/** Of the Castagnoli polynomial, reflected. */
const crcTable = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0x82f63b78 : value >>> 1;
  return value;
});

/** CRC-32C (RFC 3720, appendix B.4). */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (crc >>> 8) ^ crcTable[(crc ^ byte) & 0xff]!;
  return (crc ^ 0xffffffff) >>> 0;
}

/** The stored form: rotated right by 15 bits plus a constant, because a CRC of data that contain CRCs is weak. */
function masked(bytes: Uint8Array): number {
  const crc = crc32c(bytes);
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}

/** A record of an event file. */
export function record(data: Uint8Array): Buffer {
  const bytes = Buffer.alloc(16 + data.length);
  bytes.writeBigUInt64LE(BigInt(data.length), 0);
  bytes.writeUInt32LE(masked(bytes.subarray(0, 8)), 8);
  bytes.set(data, 12);
  bytes.writeUInt32LE(masked(data), 12 + data.length);
  return bytes;
}

function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  return [...bytes, rest];
}

function lengthDelimited(field: number, data: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from([(field << 3) | 2, ...varint(data.length)]), data]);
}

function wallTime(seconds: number): Buffer {
  const bytes = Buffer.alloc(9);
  bytes[0] = (1 << 3) | 1;
  bytes.writeDoubleLE(seconds, 1);
  return bytes;
}

/** The first event of a file. `seconds`: since 1970. */
export function versionEvent(seconds: number): Buffer {
  return Buffer.concat([wallTime(seconds), lengthDelimited(3, Buffer.from("brain.Event:2"))]);
}

/** A scalar at a step. */
export function scalarEvent(seconds: number, step: number, tag: string, value: number): Buffer {
  const number = Buffer.alloc(5);
  number[0] = (2 << 3) | 5;
  number.writeFloatLE(value, 1);
  const summary = lengthDelimited(1, Buffer.concat([lengthDelimited(1, Buffer.from(tag)), number]));
  return Buffer.concat([wallTime(seconds), Buffer.from([2 << 3, ...varint(step)]), lengthDelimited(5, summary)]);
}

/** The scalars of an event, by tag. */
function scalarsOf(event: TrainEvent): Record<string, number> {
  if (event.type === "eval")
    return { "eval/loss": event.loss, "eval/perplexity": event.perplexity, "eval/accuracy": event.accuracy };
  if (event.type !== "step") return {};
  const { loss, learningRate, gradNorm, accuracy, epoch, tokensPerSecond } = event;
  return {
    "train/loss": loss,
    "train/learning_rate": learningRate,
    "train/grad_norm": gradNorm,
    "train/accuracy": accuracy,
    "train/epoch": epoch,
    "train/tokens_per_second": tokensPerSecond,
  };
}

/** Writes the scalars of a run to a new file, as TensorBoard expects for each start of a run. */
export class TensorBoardLogger {
  private constructor(
    private readonly path: string,
    private readonly file: FileHandle,
  ) {}

  static async open(outputDir: string): Promise<TensorBoardLogger> {
    const now = Date.now();
    const name = `${eventFilePrefix}${Math.floor(now / 1000)}.${hostname()}.${process.pid}.${now % 1000}`;
    const path = join(outputDir, name);
    return withFileErrors(path, async () => {
      const file = await openLog(path, true);
      try {
        await file.appendFile(record(versionEvent(now / 1000)));
      } catch (error) {
        await file.close();
        throw error;
      }
      return new TensorBoardLogger(path, file);
    });
  }

  async write(event: TrainEvent): Promise<void> {
    const now = Date.now() / 1000;
    const records = Object.entries(scalarsOf(event)).map(([tag, value]) =>
      record(scalarEvent(now, (event as { step: number }).step, tag, value)),
    );
    if (records.length > 0) await withFileErrors(this.path, () => this.file.appendFile(Buffer.concat(records)));
  }

  close(): Promise<void> {
    return withFileErrors(this.path, () => this.file.close());
  }
}
