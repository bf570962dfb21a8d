/** A family of decoders with rotary positions and a gate: how its config.json is read, as far as it differs from the others. */
import type { BiasGroup, StackArchitecture, Storage } from "./architecture";
import type { ConfigReader } from "./config_reader";

export interface Family {
  /** The value of `model_type`; also the label in the architecture document. */
  readonly modelType: string;
  /** Values of fields that a config.json lacks, as transformers has them. */
  readonly defaults: {
    readonly max_position_embeddings: number;
    /** Without it: num_attention_heads. A null in config.json always means that. */
    readonly num_key_value_heads?: number;
    /** Without it: hidden_size / num_attention_heads. */
    readonly head_dim?: number;
    /** Without it: 1e-6. */
    readonly rms_norm_eps?: number;
    /** Without them: none. */
    readonly bos_token_id?: number;
    readonly eos_token_id?: number;
  };
  /** Whether each head of q and k is normed before RoPE. */
  readonly headNorm?: boolean;
  /** How many components of a head RoPE rotates, the first ones. Without it: all. */
  rotated?(config: ConfigReader, headDim: number): number;
  /** @throws RubricateError ERR_CONFIG for fields of this family alone that are not supported */
  check?(config: ConfigReader): void;
  /** How its checkpoints store the tensors. Without it: as LLaMA's. */
  storage?(stack: StackArchitecture): Storage;
  /** Which linear layers have a bias. */
  biases(config: ConfigReader): Biases;
  /** Fields of config.json that, set to true, give a group of linear layers biases. Without it: none. */
  readonly biasFields?: Partial<Readonly<Record<BiasGroup, string>>>;
  /**
   * The number of positions that a token sees, itself among them; undefined if it sees all before it. Sequences up to this
   * length are exact without a window, and the context is limited to it.
   * @throws RubricateError ERR_CONFIG if some of the layers have a window that matters
   */
  window?(config: ConfigReader, size: WindowSize): number | undefined;
}

export interface WindowSize {
  readonly layers: number;
  /** max_position_embeddings */
  readonly positions: number;
}

export interface Biases {
  /** Of the projections to queries, keys and values. */
  readonly qkv: boolean;
  /** Of the attention's output projection. */
  readonly output: boolean;
  /** Of the three projections of the feed-forward. */
  readonly feedForward: boolean;
}
