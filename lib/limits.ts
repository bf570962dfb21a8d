/**
 * Bounds on what a file or a caller may ask for, each listed with its error code in docs/limits.md. A size that comes from
 * a file is compared with its bound before anything of that size is made. Bounds that the core checks are in
 * native/base/limits.h.
 */

const KiB = 1024;
const MiB = 1024 * KiB;
const GiB = 1024 * MiB;

export const limits = {
  // Files

  // Tokenizers and chat templates

  // Calls

  // Training
} as const;
