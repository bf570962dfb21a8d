// cuBLASLt, opened at run time where the machine has it; nothing is linked, and no header of it is needed. What is used
// of its C interface is declared here, as versions 12 and 13 have it.
//
// RUBRICATE_CUBLASLT_LIBRARY names the library's file, or is "none". Where it is not set: libcublasLt.so.13 or .12, as
// the system's loader finds them, then those of the toolkit in /usr/local/cuda.
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
constexpr int kComputeFloat32 = 68;  // CUBLAS_COMPUTE_32F: sums in fp32, factors of fp32 not rounded to TF32
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

// The functions in use, each cublasLtNAME. Matrices are column-major.
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
  int32_t version = 0;  // 10000 * major + 100 * minor + patch; 0 where it cannot be used
  char why[400] = {};   // then: a sentence
};

// Opens a library as `choice`, the value of RUBRICATE_CUBLASLT_LIBRARY, says; null or empty: it was not set. What was
// opened stays open.
Library open(const char* choice);

// That of the process, opened at the first call; what failed is not tried again.
const Library& library();

// Its handle for a device, which has to be current; made at the first call. Null where it cannot be made, and then
// `why` says so.
Handle handle(int32_t device, char* why, size_t why_bytes);

}  // namespace rubricate::cuda::lt
