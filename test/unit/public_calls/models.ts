/** Models and adapters. */
import { join } from "node:path";
import * as api from "../../../lib/index";
import { choice, fileCodes, missing, none, noOptions, on, type PublicCall, withoutNull } from "./support";

/** `generate` and `complete` have the same arguments. */
export const generation: Omit<PublicCall, "call"> = {
  args: () => [{ prompt: "a", maxNewTokens: 1 }],
  options: (s) => ({
    prompt: "hello",
    adapter: s.adapter,
    maxNewTokens: 1,
    temperature: 0.5,
    topK: 3,
    topP: 0.5,
    minP: 0.1,
    repetitionPenalty: 1.1,
    frequencyPenalty: 0.5,
    presencePenalty: -0.5,
    logitBias: { 5: 1 },
    logProbabilities: true,
    topLogProbabilities: 2,
    stop: ["end", "stop"],
    seed: 7,
    signal: new AbortController().signal,
  }),
  takes: {
    prompt: "text",
    adapter: missing,
    maxNewTokens: `${missing} one`,
    temperature: `${missing} zero one half`,
    topK: `${missing} zero one`,
    topP: `${missing} one half`,
    minP: `${missing} zero one half`,
    repetitionPenalty: `${missing} one half`,
    frequencyPenalty: `${missing} zero one half minus`,
    presencePenalty: `${missing} zero one half minus`,
    logitBias: `${missing} object map class`,
    logProbabilities: `${missing} true false`,
    topLogProbabilities: missing, // an integer needs logProbabilities, too
    stop: `${withoutNull} text array`,
    seed: `${missing} zero one`,
    signal: missing,
  },
};

export const models: Record<string, PublicCall> = {
  embeddedModelDir: { args: none, call: () => api.embeddedModelDir() },
  loadDemoPairs: { args: none, call: () => api.loadDemoPairs() },
  setDeviceMemoryLimit: {
    args: () => ["cuda", 2 ** 40],
    call: (_, args: never[]) => api.setDeviceMemoryLimit(...(args as never as ["cuda", number])),
    skips: { 1: "zero one" },
    runs: false,
  },
  "LanguageModel.fromPretrained": {
    args: (s) => [s.dir, {}],
    call: (_, args) =>
      api.LanguageModel.fromPretrained(...(args as never as [string])).then((model) => model.dispose()),
    options: () => ({ device: "cpu", dtype: "float32", onProgress: () => {}, signal: new AbortController().signal }),
    takes: { 1: noOptions, device: missing, dtype: missing, onProgress: `${missing} function`, signal: missing },
    codes: fileCodes,
  },
  "LanguageModel#fingerprint": { args: none, call: on("model", "fingerprint") },
  "LanguageModel#requireTokenizer": { args: none, call: on("model", "requireTokenizer") },
  "LanguageModel#logits": {
    args: () => [[1, 2], {}],
    call: on("model", "logits"),
    options: (s) => ({ adapter: s.adapter, signal: new AbortController().signal }),
    takes: { 1: noOptions, adapter: missing, signal: missing },
    codes: ["ERR_CONTEXT_LENGTH"],
  },
  "LanguageModel#generate": { ...generation, call: on("model", "generate") },
  "LanguageModel#complete": { ...generation, call: on("model", "complete") },
  "LanguageModel#generate of messages": {
    args: () => [{ messages: [{ role: "user", content: "a" }], maxNewTokens: 1 }],
    call: on("model", "generate"),
    options: () => ({ messages: [{ role: "user", content: "a" }] }),
  },
  "LanguageModel#generate of ids": {
    args: () => [{ tokenIds: [1, 2], maxNewTokens: 1 }],
    call: on("model", "generate"),
    options: () => ({ tokenIds: [1, 2] }),
    codes: ["ERR_CONTEXT_LENGTH"],
  },
  "LanguageModel#score": {
    args: () => [{ prompt: "a", continuation: "b" }],
    call: on("model", "score"),
    options: (s) => ({
      prompt: "hello",
      continuation: [1, 2],
      adapter: s.adapter,
      signal: new AbortController().signal,
    }),
    takes: { prompt: "text", continuation: "text", adapter: missing, signal: missing },
    codes: ["ERR_CONTEXT_LENGTH"],
  },
  "LanguageModel#savePretrained": {
    args: (s) => [join(s.out, "model")],
    call: on("model", "savePretrained"),
    skips: { 0: "text" },
  },
  "LanguageModel#memory": { args: none, call: on("model", "memory") },
  "LanguageModel#matmuls": { args: none, call: on("model", "matmuls") },
  mergeAdapter: {
    args: (s) => [s.model, s.adapter, join(s.out, "merged"), { overwrite: true }],
    call: (_, args) => api.mergeAdapter(...(args as never as [api.LanguageModel, api.Adapter, string])),
    options: () => ({
      dtype: "auto",
      overwrite: true,
      signal: new AbortController().signal,
      onProgress: () => {},
    }),
    takes: { dtype: missing, overwrite: "true", signal: missing, onProgress: `${missing} function` },
    codes: fileCodes, // the folder has a model by then
    skips: { 2: "text" },
  },
  evaluate: {
    args: (s) => [s.model, s.examples, {}],
    call: (_, args) => api.evaluate(...(args as never as [api.LanguageModel, api.Example[]])),
    options: (s) => ({
      adapter: s.adapter,
      batchSize: 1,
      signal: new AbortController().signal,
      onProgress: () => {},
    }),
    takes: {
      2: noOptions,
      adapter: missing,
      batchSize: `${missing} one`,
      signal: missing,
      onProgress: `${missing} function`,
    },
    codes: ["ERR_DATA"],
  },
};

export const adapters: Record<string, PublicCall> = {
  "RedAdapter.create": {
    args: (s) => [s.model, {}],
    call: (_, args) => api.RedAdapter.create(...(args as never as [api.LanguageModel])),
    options: () => ({ variant: "ln", sites: ["q", "ffn"], layers: [0] }),
    takes: { 1: noOptions, variant: withoutNull, sites: withoutNull, layers: withoutNull },
  },
  "RedAdapter.fromPretrained": {
    args: (s) => [s.adapterDir, s.model, {}],
    call: (_, args) => api.RedAdapter.fromPretrained(...(args as never as [string, api.LanguageModel])),
    options: () => ({ allowBaseMismatch: true }),
    takes: { 2: noOptions, allowBaseMismatch: `${missing} true false` },
    codes: fileCodes,
  },
  "RedAdapter.fromReference": {
    args: (s) => [s.referenceFile, s.model],
    call: (_, args) => api.RedAdapter.fromReference(...(args as never as [string, api.LanguageModel])),
    codes: ["ERR_FILE", "ERR_TORCH_FILE", "ERR_ADAPTER_FORMAT"],
  },
  loadAdapter: {
    args: (s) => [s.adapterDir, s.model, {}],
    call: (_, args) => api.loadAdapter(...(args as never as [string, api.LanguageModel])),
    options: () => ({ allowBaseMismatch: true, methods: [api.melora] }),
    takes: { 2: noOptions, allowBaseMismatch: `${missing} true false`, methods: `${missing} array` },
    codes: fileCodes,
  },
  createAdapter: {
    args: (s) => [s.model, api.red, {}],
    call: (_, args) => api.createAdapter(...(args as never as [api.LanguageModel, api.MethodCall])),
    options: () => ({ seed: 3 }),
    takes: { 2: noOptions, seed: `${withoutNull} zero one` },
  },
  defineMethod: {
    args: () => [{ kind: "own", options: [], check: () => ({}), plan: () => ({}) }],
    call: (_, args) => void api.defineMethod(...(args as never as [api.Method<object>])),
  },
  "LoraAdapter.create": {
    args: (s) => [s.model, {}],
    call: (_, args) => api.LoraAdapter.create(...(args as never as [api.LanguageModel])),
    options: () => ({ rank: 2, alpha: 3, targetModules: ["q_proj"], layers: [0], rankStabilized: true, seed: 5 }),
    takes: {
      1: noOptions,
      rank: `${withoutNull} one`,
      alpha: `${withoutNull} one half`,
      targetModules: withoutNull,
      layers: withoutNull,
      rankStabilized: choice,
      seed: `${withoutNull} zero one`,
    },
  },
  "LoraAdapter.fromPretrained": {
    args: (s) => [s.loraDir, s.model, {}],
    call: (_, args) => api.LoraAdapter.fromPretrained(...(args as never as [string, api.LanguageModel])),
    options: () => ({ allowBaseMismatch: true }),
    takes: { 2: noOptions, allowBaseMismatch: `${missing} true false` },
    codes: fileCodes,
  },
  "LoraAdapter#savePretrained": {
    args: (s) => [join(s.out, "lora")],
    call: on("lora", "savePretrained"),
    skips: { 0: "text" },
  },
  "LoraAdapter#vectors": { args: none, call: on("lora", "vectors") },
  "LoraAdapter#gradients": { args: none, call: on("lora", "gradients") },
  "LoraAdapter#setVectors": {
    args: (s) => [s.lora.vectors()],
    call: on("lora", "setVectors"),
    takes: { 0: "map" },
  },
  "Ia3Adapter.create": {
    args: (s) => [s.model, {}],
    call: (_, args) => api.Ia3Adapter.create(...(args as never as [api.LanguageModel])),
    options: () => ({ targetModules: ["up_proj", "v_proj"], feedforwardModules: ["up_proj"] }),
    takes: { 1: noOptions, targetModules: withoutNull, feedforwardModules: `${withoutNull} array` },
  },
  "Ia3Adapter.fromPretrained": {
    args: (s) => [s.ia3Dir, s.model, {}],
    call: (_, args) => api.Ia3Adapter.fromPretrained(...(args as never as [string, api.LanguageModel])),
    options: () => ({ allowBaseMismatch: true }),
    takes: { 2: noOptions, allowBaseMismatch: `${missing} true false` },
    codes: fileCodes,
  },
  "Ia3Adapter#savePretrained": {
    args: (s) => [join(s.out, "ia3")],
    call: on("ia3", "savePretrained"),
    skips: { 0: "text" },
  },
  "Ia3Adapter#vectors": { args: none, call: on("ia3", "vectors") },
  "Ia3Adapter#gradients": { args: none, call: on("ia3", "gradients") },
  "Ia3Adapter#setVectors": {
    args: (s) => [s.ia3.vectors()],
    call: on("ia3", "setVectors"),
    takes: { 0: "map" },
  },
  "RedAdapter#savePretrained": {
    args: (s) => [join(s.out, "adapter")],
    call: on("adapter", "savePretrained"),
    skips: { 0: "text" },
  },
  "RedAdapter#vectors": { args: none, call: on("adapter", "vectors") },
  "RedAdapter#gradients": { args: none, call: on("adapter", "gradients") },
  "RedAdapter#setVectors": {
    args: (s) => [s.adapter.vectors()],
    call: on("adapter", "setVectors"),
    takes: { 0: "map" },
  },
  "RedAdapter#setVectors of a name": {
    args: (s) => [[...s.adapter.vectors()][0]![1]],
    call: (s, [values]) => s.adapter.setVectors(new Map([[[...s.adapter.vectors().keys()][0]!, values!]])),
    codes: ["ERR_SHAPE", "ERR_NOT_FINITE"],
  },
  "RedAdapter#stats": { args: none, call: on("adapter", "stats") },
};
