// Bounds on what a file or a caller may ask of the core, each listed with its error code in docs/limits.md. A size that
// comes from a file is compared with its bound before anything of that size is made. Bounds that only TypeScript checks
// are in lib/limits.ts.
#pragma once

#include <cstdint>

namespace rubricate::limits {

// Model configuration and weights

// Calls
constexpr int kThreads = 256;       // of the pool
constexpr int kMappedFiles = 4096;  // at once; the handler of lost pages has a place for each

}  // namespace rubricate::limits
