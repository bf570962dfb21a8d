/** A prediction and its references, one or more, as tokens. */
export interface Tokenized {
  readonly prediction: readonly string[];
  readonly references: readonly string[][];
}
