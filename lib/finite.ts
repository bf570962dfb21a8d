/** Checks that numbers are finite, in plain loops: there may be as many as a model has weights. */
import type { Steps } from "./steps";

/** Index of the first number that is infinite or NaN, or -1. */
export function firstNotFinite(values: Float32Array): number {
  for (let at = 0; at < values.length; at++) if (!Number.isFinite(values[at])) return at;
  return -1;
}

/** Numbers checked in one step, which takes about 50 microseconds. */
const portion = 1 << 16;

/** As `firstNotFinite`, in steps. */
export function* firstNotFiniteSteps(values: Float32Array): Steps<number> {
  for (let start = 0; start < values.length; start += portion) {
    const at = firstNotFinite(values.subarray(start, start + portion));
    if (at >= 0) return start + at;
    yield;
  }
  return -1;
}

/** Bits of the exponent; all are set only in infinities and NaN. */
const exponents = { F32: 0x7f800000, F16: 0x7c00, BF16: 0x7f80 } as const;

/** Whether all numbers of a stored tensor, or of a part of it, are finite. */
export function areFinite(bytes: Uint8Array, dtype: keyof typeof exponents): boolean {
  const exponent = exponents[dtype];
  const size = dtype === "F32" ? 4 : 2;
  const { buffer, byteOffset, byteLength } = bytes.byteOffset % size === 0 ? bytes : bytes.slice();
  const count = Math.floor(byteLength / size);
  const words = size === 4 ? new Uint32Array(buffer, byteOffset, count) : new Uint16Array(buffer, byteOffset, count);
  for (let at = 0; at < words.length; at++) if ((words[at]! & exponent) === exponent) return false;
  return true;
}
