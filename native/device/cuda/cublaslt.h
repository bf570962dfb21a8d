// cuBLASLt, opened at run time if the machine has it; nothing is linked, and its headers are not needed. The parts of
// its C interface that are used are declared here, as in versions 12 and 13.
//
// RUBRICATE_CUBLASLT_LIBRARY is the library's path, or "none". If it is not set: libcublasLt.so.13 or .12, as the
// dynamic loader finds them, then those in /usr/local/cuda.
#pragma once

#include <cstddef>
#include <cstdint>

#include "device/cuda/abi.h"

namespace rubricate::cuda::lt {

using Status = int;
constexpr Status kSuccess = 0, kAllocFailed = 3;  // CUBLAS_STATUS_...
using Handle = struct HandleOfLt*;
using Product = struct ProductOfLt*;        // cublasLtMatmulDesc_t
using Layout = struct LayoutOfLt*;          // cublasLtMatrixLayout_t
using Preference = struct PreferenceOfLt*;  // cublasLtMatmulPreference_t
struct Algorithm {                          // cublasLtMatmulAlgo_t
  uint64_t words[8];
};
struct Heuristic {  // cublasLtMatmulHeuristicResult_t
  Algorithm algorithm;
  size_t workspace_bytes;
  Status state;
  float waves;
  int reserved[4];
};

enum DataType : int { kFloat32 = 0, kBfloat16 = 14 };  // CUDA_R_32F, CUDA_R_16BF
enum Operation : int32_t { kAsStored = 0, kTransposed = 1 };
constexpr int kComputeFloat32 = 68;  // CUBLAS_COMPUTE_32F: sums in fp32, fp32 inputs not rounded to TF32
enum ProductAttribute : int { kTransposeA = 3, kTransposeB = 4 };
enum PreferenceAttribute : int {
  kMostWorkspace = 1,
  kReductionSchemes = 3,
  kAlignmentA = 5,
  kAlignmentB = 6,
  kAlignmentC = 7,
  kAlignmentD = 8
};
constexpr uint32_t kNoReduction = 0;  // CUBLASLT_REDUCTION_SCHEME_NONE: k is not split

// The functions that are used, each cublasLtNAME. Matrices are column-major.
struct Api {
  size_t (*GetVersion)();
  const char* (*GetStatusName)(Status);
  Status (*Create)(Handle*);
  Status (*MatmulDescCreate)(Product*, int compute, int scale);
  Status (*MatmulDescDestroy)(Product);
  Status (*MatmulDescSetAttribute)(Product, int attribute, const void* value, size_t bytes);
  Status (*MatrixLayoutCreate)(Layout*, int type, uint64_t rows, uint64_t cols, int64_t stride);
  Status (*MatrixLayoutDestroy)(Layout);
  Status (*MatmulPreferenceCreate)(Preference*);
  Status (*MatmulPreferenceDestroy)(Preference);
  Status (*MatmulPreferenceSetAttribute)(Preference, int attribute, const void* value, size_t bytes);
  Status (*MatmulAlgoGetHeuristic)(Handle, Product, Layout a, Layout b, Layout c, Layout d, Preference, int wanted,
                                   Heuristic* results, int* found);
  // d = alpha op(a) op(b) + beta c; `stream` is a cudaStream_t.
  Status (*Matmul)(Handle, Product, const void* alpha, const void* a, Layout, const void* b, Layout, const void* beta,
                   const void* c, Layout, void* d, Layout, const Algorithm*, void* workspace, size_t workspace_bytes,
                   void* stream);
};

struct Library {
  Api api{};
  int32_t version = 0;  // 10000 * major + 100 * minor + patch; 0 if it cannot be used
  char why[400] = {};   // the reason then, as a sentence
};

// Opens the library for `choice`, the value of RUBRICATE_CUBLASLT_LIBRARY; null or empty: not set. It is never closed.
Library open(const char* choice);

// The process's library, opened at the first call; a failure is not retried.
const Library& library();

// The library's handle for a device, which must be current; created at the first call. Null, with a reason in `why`, if
// it cannot be created.
Handle handle(int32_t device, char* why, size_t why_bytes);

}  // namespace rubricate::cuda::lt
