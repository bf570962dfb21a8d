/** The public names. */

export type {
  Adapter,
  AdapterConfig,
  AdapterMethod,
  LoadAdapterOptions,
  MethodConfig,
  OtherMethod,
} from "./adapter/adapter";
export type { RedAdapterConfig, RedSite, RedVariant } from "./adapter/config";
export { type CreateAdapterOptions, createAdapter } from "./adapter/create";
export { Ia3Adapter, type Ia3AdapterOptions } from "./adapter/ia3_adapter";
export type { Ia3AdapterConfig, Ia3Module } from "./adapter/ia3_config";
export { type LoadAnyAdapterOptions, loadAdapter } from "./adapter/load";
export { LoraAdapter, type LoraAdapterOptions } from "./adapter/lora_adapter";
export type { LoraAdapterConfig, LoraModule } from "./adapter/lora_config";
export { type MergeOptions, mergeAdapter } from "./adapter/merge";
export { defineMethod, type Method, type MethodCall, type MethodFunction } from "./adapter/method";
export { MethodAdapter } from "./adapter/method_adapter";
export { type LinearSite, MethodBase } from "./adapter/method_base";
export { bitfit } from "./adapter/methods/bitfit";
export { type BottleneckOptions, type BottleneckPlace, bottleneck } from "./adapter/methods/bottleneck";
export { type EtherOptions, ether, etherPlus } from "./adapter/methods/ether";
export { type GiftOptions, gift } from "./adapter/methods/gift";
export { type HiwiOptions, hiwi } from "./adapter/methods/hiwi";
export { ia3 } from "./adapter/methods/ia3";
export { lora } from "./adapter/methods/lora";
export {
  type LorettaAdpOptions,
  type LorettaRepOptions,
  lorettaAdp,
  lorettaRep,
} from "./adapter/methods/loretta";
export { type LortaOptions, lorta } from "./adapter/methods/lorta";
export { type MeloraOptions, melora } from "./adapter/methods/melora";
export { type NormsConfig, type NormsOptions, norms } from "./adapter/methods/norms";
export { type PafiOptions, pafi } from "./adapter/methods/pafi";
export { red } from "./adapter/methods/red";
export { type SaraConfig, type SaraOptions, sara } from "./adapter/methods/sara";
export { type SiboOptions, sibo } from "./adapter/methods/sibo";
export { type SptConfig, type SptOptions, spt } from "./adapter/methods/spt";
export type { NormSite } from "./adapter/norm_sites";
export { type ExportPeftOptions, exportPeft } from "./adapter/peft_export";
export {
  type AdapterPlan,
  type PlanActivation,
  PlanBuilder,
  type PlanConstant,
  type PlanDerived,
  type PlanFreeze,
  type PlanIndex,
  type PlanOperand,
  type PlanParameter,
  type PlanSite,
  type PlanStep,
  type PlanValue,
  type SitePlan,
} from "./adapter/plan";
export {
  RedAdapter,
  type RedAdapterOptions,
  type SiteStats,
  type VectorStats,
} from "./adapter/red_adapter";
export type { Sensitivities } from "./adapter/sensitivities";
export type { EpochPlan, PlanOptions } from "./data/batches";
export {
  type DataFormat,
  Dataset,
  type DatasetOptions,
  type IndexProgress,
  type InspectedToken,
} from "./data/dataset";
export type { Example, ReasonReport, RowReport } from "./data/types";
export { type DemoPair, type DemoPairs, embeddedModelDir, loadDemoPairs } from "./embedded";
export { type ErrorCode, errorCodes, RubricateError } from "./errors";
export type { GenerateOptions } from "./generate/options";
export type {
  GeneratedLogProbability,
  GenerationPiece,
  GenerationResult,
  GenerationUsage,
  TokenLogProbability,
} from "./generate/result";
export type { LogProbabilityOptions, PenaltyOptions } from "./generate/sampling_options";
export type { ScoreOptions, ScoreResult } from "./generate/scoring";
export type { IteratedOnly } from "./generators";
export { type ScoreTextsOptions, scoreTexts, type TextScores } from "./metrics/score_texts";
export type { Architecture, LearnedPosition, RopePosition, StackArchitecture } from "./model/architecture";
export { type DeviceChoice, type MatmulRecord, type ModelDevice, setDeviceMemoryLimit } from "./model/device";
export {
  type BaseFingerprint,
  LanguageModel,
  LlamaModel,
  type LoadOptions,
  type LogitsOptions,
  type ModelAdapter,
  type ModelMemory,
} from "./model/model";
export type { Notice, NoticeCode } from "./notices";
export type { AdapterInfo, AdapterRegistry, AdapterVersion } from "./serve/adapters";
export { Engine, type EngineStats } from "./serve/engine";
export type {
  EngineCallOptions,
  EngineGenerateOptions,
  EngineOptions,
  EngineScoreOptions,
} from "./serve/engine_options";
export {
  type AdamWOptions,
  type AttentionOptions,
  type HeadLoss,
  ops,
  type Rows,
  type SublayerEdit,
  type SublayerNorm,
} from "./tensor/ops";
export { type Dtype, type FloatDtype, Tape, Tensor, type TensorOptions } from "./tensor/tensor";
export {
  type ChatMessage,
  type ChatOptions,
  type ChatTemplates,
  type DecodeOptions,
  type DecoderOptions,
  type DecodingRules,
  type EncodeOptions,
  type RenderedChat,
  TokenDecoder,
  Tokenizer,
  type TokenizerFiles,
} from "./tokenizer/tokenizer";
export { type EvaluateOptions, type Evaluation, evaluate } from "./train/evaluate";
export type {
  CheckpointEvent,
  EndEvent,
  EvalEvent,
  NoticeEvent,
  StartEvent,
  StepEvent,
  TrainEvent,
  TrainSummary,
  TrialEvent,
} from "./train/events";
export { type MultiRunOptions, MultiTrainer, type MultiTrainerOptions } from "./train/multi_trainer";
export type { LearningRateSource, LoggerName, TrainerOptions } from "./train/options";
export type { Publisher, PublishOptions } from "./train/publish";
export type { Schedule } from "./train/schedule";
export { type SensitivityOptions, sensitivities } from "./train/sensitivities";
export { type RunOptions, Trainer } from "./train/trainer";
export type { TrainingRun } from "./train/training_run";
