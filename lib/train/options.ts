import type { Adapter } from "../adapter/adapter";
import type { Dataset } from "../data/dataset";
import type { Example } from "../data/types";
import type { LanguageModel } from "../model/model";
import type { ExampleSource } from "./examples";
import type { TrainingOptions, TrainingSettings } from "./option_table";

export type { LoggerName } from "./option_table";

/** The model, the data and the options of a run. */
export interface TrainerOptions extends TrainingOptions {
  readonly model: LanguageModel;
  /** The adapter that is trained, with any method but "full". */
  readonly adapter?: Adapter;
  /** An array is copied when a run begins. */
  readonly train: Dataset | readonly Example[];
  /** Examples to evaluate with, or the share of `train`, in (0, 1), that is split off at random by the seed. */
  readonly eval?: Dataset | readonly Example[] | number;
}

/** Where a learning rate comes from: the caller, the default, or a sweep. */
export type LearningRateSource = "option" | "default" | "sweep";

/** Options with their defaults, checked. */
export type TrainerSettings = Pick<TrainerOptions, "model" | "adapter"> &
  Omit<TrainingSettings, "packing"> & {
    readonly train: Dataset | readonly Example[] | ExampleSource;
    readonly eval?: Dataset | readonly Example[] | ExampleSource | number;
    readonly packing: { readonly maxTokens: number } | undefined;
    readonly learningRateFrom: LearningRateSource;
  };

/** The settings of a run, whose learning rate is known. */
export type Settings = TrainerSettings & { readonly learningRate: number };
