/** Makes a tokenizer's tables: in a thread, or on the calling one if that is as fast. */
import path from "node:path";
import { isDeepStrictEqual } from "node:util";
import { RubricateError } from "../errors";
import { abortError, onAbort, throwIfAborted } from "../job";
import { WorkerThread } from "../worker_thread";
import type { TokenizerBytes } from "./files";
import { partsOf, type TokenizerParts } from "./parts";

/** What can be asked of the thread. */
export interface TableCalls {
  parts: { argument: TokenizerBytes; result: TokenizerParts };
}

const kind = {
  module: path.join(__dirname, "table_worker"),
  name: "tokenizer",
  doing: "building a tokenizer",
  // Parsed pieces become garbage immediately: V8 would let up to 48 MB of them come together before it looks.
  resourceLimits: { maxYoungGenerationSizeMb: 2 },
};

/**
 * Files of fewer bytes together are read on the caller's thread. As the first thing that a process does, the densest of them
 * (short tokens, short added tokens) keep its event loop for 30 to 40 ms, less than a thread takes to start and load its
 * modules; twice as many bytes can take more than 50 ms.
 */
const bytesAtOnce = 1 << 16;

/** How long a thread without work stays, in milliseconds: starting one takes longer than most tokenizers. */
const idleTime = 250;

/** Tables that are being made, for all who load the same files meanwhile. */
interface Build {
  readonly files: TokenizerBytes;
  /** How many still want them. */
  waiting: number;
  readonly parts: Promise<TokenizerParts>;
}
const builds = new Set<Build>();

/** Settles when the last build that was begun has ended. */
let last: Promise<unknown> = Promise.resolve();

/** The thread of the builds, while it works and a moment after. */
let thread: WorkerThread<TableCalls> | undefined;
let idle: NodeJS.Timeout | undefined;

/**
 * Makes the parts without keeping the event loop for long. One thread does that, for one tokenizer after another: each takes
 * memory for a few times its files. Loads of equal files that are under way have the same parts.
 * @throws {RubricateError} as `partsOf`; ERR_ABORTED as soon as the signal fires
 */
export async function partsInThread(files: TokenizerBytes, signal?: AbortSignal): Promise<TokenizerParts> {
  const { tokenizerJson, tokenizerConfig, specialTokensMap, addedTokens, generationConfig } = files;
  let size = 0;
  for (const bytes of [tokenizerJson, tokenizerConfig, specialTokensMap, addedTokens, generationConfig])
    size += bytes?.length ?? 0;
  if (size < bytesAtOnce) return partsOf(files);
  throwIfAborted(signal);
  const build = [...builds].find((one) => isDeepStrictEqual(one.files, files)) ?? begin(files);
  build.waiting++;
  let release: (() => void) | undefined;
  try {
    if (!signal) return await build.parts;
    const aborted = new Promise<never>((_, reject) => {
      release = onAbort(signal, () => reject(abortError(signal)));
    });
    return await Promise.race([build.parts, aborted]);
  } finally {
    release?.();
    build.waiting--;
  }
}

function begin(files: TokenizerBytes): Build {
  const run = async () => {
    try {
      await before;
      if (build.waiting === 0) throw new RubricateError("ERR_ABORTED", "Nobody waits for the tokenizer any more");
      return await inThread(files);
    } finally {
      builds.delete(build);
    }
  };
  const before = last;
  const build: Build = { files, waiting: 0, parts: run() };
  last = build.parts.catch(() => {});
  builds.add(build);
  return build;
}

async function inThread(files: TokenizerBytes): Promise<TokenizerParts> {
  clearTimeout(idle);
  if (!thread || thread.isEnded) thread = new WorkerThread<TableCalls>(kind, undefined);
  const used = thread;
  try {
    return await used.call("parts", files);
  } finally {
    idle = setTimeout(() => {
      thread = undefined;
      void used.close(new RubricateError("ERR_DISPOSED", "The tokenizer's tables are made"));
    }, idleTime).unref();
  }
}
