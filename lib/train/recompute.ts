import type { RedAdapter } from "../adapter/red_adapter";
import { hasGate } from "../model/architecture";
import type { LlamaModel } from "../model/model";

/** Share of the free memory that stored activations may take with recompute "auto". */
export const storedShare = 0.5;

/**
 * Bytes per token that a training step stores for the backward pass without recomputing: the tensors saved by the ops of
 * all layers from the lowest trained one. With c bytes per element, for each layer
 *
 *     c (2 H + 2 K)       q, k, v and the output of attention; H, K: heads and kv heads times head_dim
 *     4 heads             the softmax's denominators
 *     2 (c hidden + 4)    the residual stream after each sub-layer, and the norm's factor, with LayerNorm also its mean; on
 *                         the CPU with RMSNorm only after one of them, if only one has its scale trained: the core
 *                         recomputes the sum after that
 *     2 c size            gate and up of the feed-forward; without a gate only up
 *
 * with norms of heads (H + K) (4 + 4 / head_dim) more: q and k before the norms in fp32, and the norms' factors;
 *
 * and in addition, for RED the edited projections' outputs (in fp32 for q, k and v; with a layer norm twice, plus mean and
 * deviation), for full fine-tuning the inputs of q, gate and down: c (2 hidden + size). Temporary tensors of the current
 * block are not counted.
 */
export function storedBytesPerToken(
  model: Pick<LlamaModel, "architecture" | "dtype" | "device">,
  adapter?: RedAdapter,
): number {
  const { hidden, stacks } = model.architecture;
  const [{ layers, attention, feed_forward, norm }] = stacks;
  const layerNorm = norm.kind === "layer";
  const { heads, kv_heads, head_dim } = attention;
  const element = model.dtype === "bfloat16" ? 2 : 4;
  const [queries, keys] = [heads * head_dim, kv_heads * head_dim];
  const normed = attention.head_norm ? 4 * (queries + keys + heads + kv_heads) : 0;
  const common =
    normed +
    element * (2 * queries + 2 * keys) +
    4 * heads +
    2 * (element * hidden + (layerNorm ? 8 : 4)) +
    (hasGate(model.architecture) ? 2 : 1) * element * feed_forward.size;
  if (!adapter) return layers * (common + element * (2 * hidden + feed_forward.size));
  const { variant, sites, layers: edited } = adapter.config;
  const [closing, inner] = [element * hidden, element * feed_forward.size];
  const bytes = { q: 4 * queries, k: 4 * keys, v: 4 * keys, attention: closing, ffn: closing, gate: inner, up: inner };
  const copies = { all: 1, scale: 1, bias: 0, ln: 2 }[variant];
  const moments = variant === "ln" ? 8 : 0;
  const outputs = sites.reduce((sum, site) => sum + copies * bytes[site] + moments, 0);
  const scaled = variant === "all" || variant === "scale";
  const formedAgain =
    !layerNorm && model.device.kind === "cpu" && scaled && sites.includes("ffn") !== sites.includes("attention")
      ? element * hidden
      : 0;
  return (layers - Math.min(...edited)) * common + edited.length * (outputs - formedAgain);
}

/**
 * Whether the blocks of a step whose largest micro-batch has so many rows are recomputed in the backward pass. "auto": if
 * it would store more than `storedShare` of the free memory. Free memory is what the process can still use (of the machine
 * or its container) when the run begins, less the mapped weights, which have to stay in memory too; on a CUDA device, what
 * is free there or kept for reuse. Both ways give bit-identical results.
 */
export function recomputeRule(
  choice: boolean | "auto",
  model: LlamaModel,
  adapter: RedAdapter | undefined,
): (rows: number) => boolean {
  if (choice !== "auto") return () => choice;
  const { mapped, device } = model.memory();
  const budget = storedShare * (device ? device.free + device.cached : process.availableMemory() - mapped);
  const bytesPerToken = storedBytesPerToken(model, adapter);
  return (rows) => rows * bytesPerToken > budget;
}
