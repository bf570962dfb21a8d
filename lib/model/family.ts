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
  /** The sliding window; undefined if no layer has one. `layers`: the stack's number of layers. */
  window?(config: ConfigReader, layers: number): SlidingWindow | undefined;
}

export interface SlidingWindow {
  /** How many positions a token sees, itself among them. */
  readonly size: number;
  /** The layers that have it, ascending; undefined: all. */
  readonly layers?: readonly number[];
}

export interface Biases {
  /** Of the projections to queries, keys and values. */
  readonly qkv: boolean;
  /** Of the attention's output projection. */
  readonly output: boolean;
  /** Of the three projections of the feed-forward. */
  readonly feedForward: boolean;
}
