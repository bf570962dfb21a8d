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
  /** "rms" has a weight, "layer" (LayerNorm) also a bias. */
  readonly norm: { readonly kind: "rms" | "layer"; readonly eps: number };
  readonly position: RopePosition | LearnedPosition;
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
    /** The scale of layer l, counted from 0, is scale / (l + 1). Left out where it is the same in all layers. */
    readonly scale_by_layer?: true;
    /** How many positions a token sees, itself among them. Left out where it sees all before it. */
    readonly window?: number;
    /** The layers that have the window, ascending. Left out where all have it, or none. */
    readonly window_layers?: readonly number[];
  };
  /** "swiglu" has a gate; "gelu" and "gelu_tanh" are an activation between up_proj and down_proj. */
  readonly feed_forward: {
    readonly kind: "swiglu" | "gelu" | "gelu_tanh";
    readonly size: number;
    readonly bias: boolean;
  };
}

/** `inv_freq`: [head_dim / 2], scaling applied; `factor` multiplies cos and sin. */
export interface RopePosition {
  readonly kind: "rope";
  readonly inv_freq: readonly number[];
  readonly factor: number;
}

/** A table of [context, hidden], "embed_positions.weight", that is added to the embeddings. */
export interface LearnedPosition {
  readonly kind: "learned";
}

/** Whether the feed-forward has a gate, and so the site "gate". */
export const hasGate = ({ stacks: [{ feed_forward }] }: Pick<Architecture, "stacks">): boolean =>
  feed_forward.kind === "swiglu";

/** How a family's checkpoints store the canonical tensors. */
export interface Storage {
  /** The prefix of all names but the head's in the checkpoints of the class with a head; may be missing in a checkpoint. */
  readonly prefix: string;
  /**
   * Where a canonical tensor lies, without the prefix; those that are not here are stored whole under their own names. "{}" in
   * a name stands for the number of a layer.
   */
  readonly parts: Readonly<Record<string, StoredPart>>;
  /** Names, without the prefix, of tensors that a checkpoint may hold and the model does not need. */
  readonly ignored: readonly string[];
}

/** A stored tensor, or some of its outputs: rows of a matrix, elements of a vector. */
export interface StoredPart {
  readonly name: string;
  /** The outputs begin here, of `total`. Without them it is the whole tensor. */
  readonly begin?: number;
  readonly total?: number;
  /** The matrix is stored as [inputs, outputs]. */
  readonly transposed?: boolean;
}

/** Groups of linear layers that have biases together: q, k and v; the attention's output; the feed-forward's. */
export type BiasGroup = "qkv" | "output" | "feedForward";

/** A config.json as interpreted by its family. */
export interface ModelDescription {
  readonly architecture: Architecture;
  /** Canonical tensor names that the architecture needs. */
  readonly tensors: readonly string[];
  /** How checkpoints of the family store them. */
  readonly storage: Storage;
  /** Fields of config.json that, set to true, give a group of linear layers biases. */
  readonly biasFields: Partial<Readonly<Record<BiasGroup, string>>>;
  /** Number of parameters; tied ones count once. */
  readonly parameterCount: number;
  readonly bosTokenId: number | undefined;
  readonly eosTokenIds: readonly number[];
}
