import type { Adapter } from "../adapter/adapter";
import type { PlanValue, SitePlan } from "../adapter/plan";
import { hasGate } from "../model/architecture";
import type { LanguageModel } from "../model/model";
import type { NativeSite } from "../native";

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
 * deviation), for LoRA the inputs of its layers and 4 rank for each, for a sparse update or a scaled input that input, for lists of steps what they are given (an
 * input, or an output), for full fine-tuning the inputs of q, gate and down: c (2 hidden + size). Temporary tensors of the current
 * block are not counted.
 */
export function storedBytesPerToken(
  model: Pick<LanguageModel, "architecture" | "dtype" | "device">,
  adapter?: Adapter,
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
  const sizes: Sizes = {
    hidden: element * hidden,
    inner: element * feed_forward.size,
    outputs: { q_proj: 4 * queries, k_proj: 4 * keys, v_proj: 4 * keys },
    sumsAgain: model.device.kind === "cpu" && !layerNorm,
  };
  const { sites, parameters, derived = [] } = adapter.plan();
  const rankOf = (a: PlanValue) => (typeof a === "number" ? parameters[a]! : derived[a.derived]!).shape[0]!;
  const edited = new Map<number, SitePlan[]>();
  for (const site of sites) edited.set(site.layer, [...(edited.get(site.layer) ?? []), site]);
  const ofLayers = [...edited.values()].reduce((sum, own) => sum + editBytes(own, sizes) + updateBytes(own, sizes), 0);
  const projected = sites.reduce((sum, { low_rank }) => sum + (low_rank ? 4 * rankOf(low_rank.a) : 0), 0);
  return (layers - Math.min(...edited.keys())) * common + ofLayers + projected;
}

/** Bytes per token. */
interface Sizes {
  /** The residual stream, and the inner values of the feed-forward. */
  readonly hidden: number;
  readonly inner: number;
  /** Outputs that are fp32; the others are as wide as one of the two. */
  readonly outputs: Partial<Record<NativeSite, number>>;
  /** Whether a sum after a sub-layer can be formed again. */
  readonly sumsAgain: boolean;
}

/** What the edits of a layer's sites store: outputs, with a layer norm twice, plus mean and deviation. */
function editBytes(sites: readonly SitePlan[], { hidden, inner, outputs, sumsAgain }: Sizes): number {
  const outputOf = (site: NativeSite) => outputs[site] ?? (site === "gate_proj" || site === "up_proj" ? inner : hidden);
  const bytes = sites.reduce((sum, { site, scale, norm }) => {
    const copies = (scale === undefined ? 0 : 1) + (norm ? 1 : 0);
    return sum + copies * outputOf(site) + (norm ? 8 : 0);
  }, 0);
  const closing = sites.filter(({ site }) => site === "down_proj" || site === "o_proj");
  const formedAgain =
    sumsAgain && closing.length === 1 && closing[0]!.scale !== undefined && !closing[0]!.norm && !closing[0]!.output;
  return bytes - (formedAgain ? hidden : 0);
}

/** What low-rank and sparse updates, scales of inputs and steps of inputs store of a layer: its inputs, of which several have one, and that of o_proj is stored anyway. */
function updateBytes(sites: readonly SitePlan[], { hidden, inner }: Sizes): number {
  const updated = sites
    .filter((own) =>
      [own.low_rank, own.sparse, own.input_scale, own.input, own.branch].some((part) => part !== undefined),
    )
    .map(({ site }) => site);
  const any = (...names: NativeSite[]) => names.some((name) => updated.includes(name));
  return (
    (any("q_proj", "k_proj", "v_proj") ? hidden : 0) +
    (any("gate_proj", "up_proj") ? hidden : 0) +
    (any("down_proj") ? inner : 0)
  );
}

/**
 * Whether the blocks of a step whose largest micro-batch has so many rows are recomputed in the backward pass. "auto": if
 * it would store more than `storedShare` of the free memory. Free memory is what the process can still use (of the machine
 * or its container) when the run begins, less the mapped weights, which have to stay in memory too; on a CUDA device, what
 * is free there or kept for reuse. Both ways give bit-identical results.
 */
export function recomputeRule(
  choice: boolean | "auto",
  model: LanguageModel,
  adapter: Adapter | undefined,
): (rows: number) => boolean {
  if (choice !== "auto") return () => choice;
  const { mapped, device } = model.memory();
  const budget = storedShare * (device ? device.free + device.cached : process.availableMemory() - mapped);
  const bytesPerToken = storedBytesPerToken(model, adapter);
  return (rows) => rows * bytesPerToken > budget;
}
