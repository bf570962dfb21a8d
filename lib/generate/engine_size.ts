/** The memory of an engine's keys and values, and the options of an engine that has no others. */
import os from "node:os";
import type { ModelMemory } from "../binding/model";
import type { NativeEngineOptions } from "../native";

/** What decides the size of a model's keys and values. */
export interface SizedModel {
  readonly architecture: {
    readonly context: number;
    readonly stacks: readonly [
      { readonly layers: number; readonly attention: { readonly kv_heads: number; readonly head_dim: number } },
    ];
  };
  readonly dtype: "float32" | "bfloat16";
  memory(): ModelMemory;
}

/** Positions of a page (kKeyBlock of native/model/kv_pool.h). */
const pagePositions = 64;

/** Bytes of the keys and values of a page of 64 positions, of all layers. */
export function pageBytes({ architecture, dtype }: SizedModel): number {
  const { layers, attention } = architecture.stacks[0];
  return pagePositions * layers * 2 * attention.kv_heads * attention.head_dim * (dtype === "float32" ? 4 : 2);
}

/** Full contexts that have room by default. */
const contexts = 8;

/** Bytes that are free for a model's work, on its device. */
function freeBytes(model: SizedModel): number {
  const { device } = model.memory();
  if (device) return 0.6 * (device.free + device.cached);
  return 0.25 * (process.availableMemory?.() ?? os.freemem());
}

/**
 * Room for eight full contexts, at most a quarter of the free memory (on a device 60 %), at least one context. Memory is
 * taken as it is needed.
 */
export function defaultCacheBytes(model: SizedModel): number {
  const context = Math.ceil(model.architecture.context / pagePositions) * pageBytes(model);
  return Math.max(context, Math.floor(Math.min(contexts * context, freeBytes(model))));
}

/** Bytes that a cache can have at most, on the model's device: pages beyond its memory would only be counted. */
export function mostCacheBytes(model: SizedModel): number {
  return Math.max(pageBytes(model), model.memory().device?.total ?? os.totalmem());
}

export const engineDefaults = {
  maxSequences: 256,
  maxQueue: 1024,
  stepMs: 50,
  trainingShare: 0.2,
  prefixCache: true,
} as const;

/** Bytes of copies of adapters on a device. */
export const deviceVersionBytes = 2 ** 30;

/** The engine of a model that no Engine uses: it refuses nothing, as the model's calls never did. */
export function modelEngineOptions(model: SizedModel): NativeEngineOptions {
  const { prefixCache, ...defaults } = engineDefaults;
  return {
    ...defaults,
    cacheBytes: defaultCacheBytes(model),
    maxQueue: 2 ** 24,
    sharePrefixes: prefixCache,
    maxDeviceVersionBytes: deviceVersionBytes,
  };
}
