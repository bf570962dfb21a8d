/**
 * A model's shape as data. The native core (native/architecture/architecture.h) checks it and builds the model from it; a family
 * (lib/model/families.ts) makes it from a config.json.
 */
export interface Architecture {
  readonly version: 1;
  /** A label, the config's `model_type`: the core selects nothing by it. */
  readonly family: string;
  readonly vocabulary: number;
  readonly hidden: number;
  /** Maximum number of positions of a sequence. */
  readonly context: number;
  readonly tied_embeddings: boolean;
  readonly stacks: readonly [StackArchitecture];
}

export interface StackArchitecture {
  readonly layers: number;
  readonly norm: { readonly kind: "rms"; readonly eps: number };
  /** `inv_freq`: [head_dim / 2], scaling applied; `factor` multiplies cos and sin. */
  readonly position: { readonly kind: "rope"; readonly inv_freq: readonly number[]; readonly factor: number };
  readonly attention: {
    readonly heads: number;
    readonly kv_heads: number;
    readonly head_dim: number;
    readonly scale: number;
    readonly mask: "causal";
    readonly qkv_bias: boolean;
    readonly output_bias: boolean;
    /** RMS norms of each head's q and k before RoPE. Left out where there are none. */
    readonly head_norm?: true;
  };
  readonly feed_forward: { readonly kind: "swiglu"; readonly size: number; readonly bias: boolean };
}

/** A config.json as interpreted by its family. */
export interface ModelDescription {
  readonly architecture: Architecture;
  /** Canonical tensor names that the architecture needs. */
  readonly tensors: readonly string[];
  /** Number of parameters; tied ones count once. */
  readonly parameterCount: number;
  /** The sliding window that limits the context; undefined if none does. */
  readonly slidingWindow: number | undefined;
  readonly bosTokenId: number | undefined;
  readonly eosTokenIds: readonly number[];
}
