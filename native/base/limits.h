// Upper bounds on sizes from files and callers; docs/limits.md lists each with its error code. A size from a file is
// compared with its bound before anything of that size is allocated. Bounds that only TypeScript checks are in
// lib/limits.ts.
#pragma once

#include <cstdint>

namespace rubricate::limits {

// Model configuration and weights; sizes are checked before they are multiplied, so no product overflows
constexpr int64_t kMaxLayers = 4096;
constexpr int64_t kMaxHeads = 4096;
constexpr int64_t kMaxHeadDim = 256;
constexpr int64_t kMaxHidden = 1048576;
constexpr int64_t kMaxIntermediate = 16777216;
constexpr int64_t kMaxVocabulary = 16777216;
constexpr int64_t kMaxContext = 16777216;
constexpr double kMinPositive = 1e-37;  // of a positive number: still a normal float32
constexpr double kMaxPositive = 1e9;
constexpr double kMaxFrequency = 1e6;           // of RoPE, in radians per position
constexpr int64_t kMaxHeaderBytes = 100000000;  // of a safetensors file, as in its reference implementation
constexpr int64_t kMaxTensors = 98304;          // of one safetensors file
constexpr int64_t kMaxTensorsRead = 8192;       // of a file that is read whole: an adapter, a checkpoint of a run
constexpr int64_t kMaxTensorRank = 64;
constexpr int64_t kMaxMetadata = 16384;     // entries of __metadata__
constexpr int64_t kMaxJsonBytes = 1048576;  // of an architecture document
constexpr int64_t kMaxJsonValues = 4096;
constexpr int kMaxJsonDepth = 64;

// Calls
constexpr int kThreads = 256;       // of the pool
constexpr int kMappedFiles = 4096;  // at once; the SIGBUS handler has a slot for each

}  // namespace rubricate::limits
