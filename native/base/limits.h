// Bounds on what a file or a caller may ask of the core, each listed with its error code in docs/limits.md. A size that
// comes from a file is compared with its bound before anything of that size is made. Bounds that only TypeScript checks
// are in lib/limits.ts.
#pragma once

#include <cstdint>

namespace rubricate::limits {

// Model configuration and weights; sizes are compared before anything is multiplied, so no product overflows
constexpr int64_t kMaxLayers = 4096;
constexpr int64_t kMaxHeads = 4096;
constexpr int64_t kMaxHeadDim = 256;
constexpr int64_t kMaxHidden = 1048576;
constexpr int64_t kMaxIntermediate = 16777216;
constexpr int64_t kMaxVocabulary = 16777216;
constexpr int64_t kMaxContext = 16777216;
constexpr double kMinPositive = 1e-37;  // of a positive number; a float32 still holds it with all its digits
constexpr double kMaxPositive = 1e9;
constexpr double kMaxFrequency = 1e6;           // of the rotary embedding, radians a position
constexpr int64_t kMaxHeaderBytes = 100000000;  // of a safetensors file, as in its reference implementation
constexpr int64_t kMaxTensors = 98304;          // of one safetensors file
constexpr int64_t kMaxTensorsRead = 8192;       // of one that is read whole: an adapter, a checkpoint of a run
constexpr int64_t kMaxTensorRank = 64;
constexpr int64_t kMaxMetadata = 16384;     // entries of __metadata__
constexpr int64_t kMaxJsonBytes = 1048576;  // of an architecture document
constexpr int64_t kMaxJsonValues = 4096;
constexpr int kMaxJsonDepth = 64;

// Calls
constexpr int kThreads = 256;       // of the pool
constexpr int kMappedFiles = 4096;  // at once; the handler of lost pages has a place for each

}  // namespace rubricate::limits
