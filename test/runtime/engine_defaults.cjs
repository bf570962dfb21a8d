// What the child processes of runtime tests give an engine of the core, and a request.

const engineOptions = {
  cacheBytes: 1 << 20,
  maxSequences: 4,
  maxQueue: 4,
  stepMs: 50,
  trainingShare: 0.2,
  sharePrefixes: true,
  maxDeviceVersionBytes: 0,
};

const requestOf = (more) => ({
  tokenIds: Int32Array.of(1, 2, 3),
  version: null,
  sampling: {
    temperature: 0,
    topK: 0,
    topP: 1,
    minP: 0,
    repetitionPenalty: 1,
    frequencyPenalty: 0,
    presencePenalty: 0,
    logitBias: null,
    seed: 0,
  },
  stopIds: new Int32Array(),
  tenant: 0,
  weight: 1,
  domain: 0,
  topLogProbs: -1,
  scoreFrom: -1,
  deadlineMs: 0,
  ...more,
});

module.exports = { engineOptions, requestOf };
