/** Makes a tokenizer's tables: in a thread, or on the calling one if that is as fast. */
import path from "node:path";
import { RubricateError } from "../errors";
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

/** The last build that was begun. */
let last: Promise<unknown> = Promise.resolve();

/**
 * Makes the parts without keeping the event loop for long. One thread at a time does that, however many tokenizers are
 * loaded at a time: each takes memory for a few times its files.
 * @throws {RubricateError} as `partsOf`
 */
export function partsInThread(files: TokenizerBytes): Promise<TokenizerParts> {
  const { tokenizerJson, tokenizerConfig, specialTokensMap, generationConfig } = files;
  let size = 0;
  for (const bytes of [tokenizerJson, tokenizerConfig, specialTokensMap, generationConfig]) size += bytes?.length ?? 0;
  const building = size < bytesAtOnce ? (async () => partsOf(files))() : last.then(() => inThread(files));
  if (size >= bytesAtOnce) last = building.catch(() => {});
  return building;
}

async function inThread(files: TokenizerBytes): Promise<TokenizerParts> {
  const thread = new WorkerThread<TableCalls>(kind, undefined);
  try {
    return await thread.call("parts", files);
  } finally {
    await thread.close(new RubricateError("ERR_DISPOSED", "The tokenizer's tables are made"));
  }
}
