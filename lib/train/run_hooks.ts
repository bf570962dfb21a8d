/** What a caller does at points of a run, which waits for it: the parameters do not change meanwhile. */
export interface RunHooks {
  /** After each step, and after its evaluation if one was due. */
  onStep?(step: number): Promise<void>;
  /** After an evaluation with the lowest loss so far, that of `step`. */
  onBest?(step: number): Promise<void>;
  /** After the last step. The parameters are the run's result: with `keepBest` those of the best evaluation. */
  onEnd?(step: number): Promise<void>;
}
