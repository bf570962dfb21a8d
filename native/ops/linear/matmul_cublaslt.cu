// cuBLASLt's matrices are column-major, ours row-major: one of our matrices is its own transpose there, with the same
// stride. So C = op(A) op(B) is computed as C^T = op(B)^T op(A)^T, with N rows and M columns:
//
//   first factor   our B: stored [N, K] it is K x N there, transposed; stored [K, N] it is N x K, not transposed
//   second factor  our A: stored [M, K] it is K x M there, not transposed; stored [K, M] it is M x K, transposed
#include "ops/linear/matmul_cublaslt.cuh"

#include <cstdio>
#include <cstring>

#include "device/cuda/cublaslt.h"
#include "device/cuda/launch.h"
#if defined(RUBRICATE_EMULATED)
#include "device/cuda/emulated/memory.h"
#endif

namespace rubricate::cuda {
namespace {

constexpr uint64_t kMostWorkspace = uint64_t{32} << 20;  // what NVIDIA recommends from Hopper on
constexpr uint32_t kAlignment = 16;                      // of every matrix; matmul_plan.cc ensures it
constexpr int kWanted = 8;

int type_of(DType dtype) { return dtype == DType::bf16 ? lt::kBfloat16 : lt::kFloat32; }

// cuBLASLt's description of a matmul.
class Description {
 public:
  Description(const lt::Api& api, const MatmulArgs& args) : api_(api) {
    const int32_t first = args.b_transposed ? lt::kTransposed : lt::kAsStored;
    const int32_t second = args.a_transposed ? lt::kTransposed : lt::kAsStored;
    (void)(did(api.MatmulDescCreate(&product, lt::kComputeFloat32, lt::kFloat32)) &&
           did(api.MatmulDescSetAttribute(product, lt::kTransposeA, &first, sizeof first)) &&
           did(api.MatmulDescSetAttribute(product, lt::kTransposeB, &second, sizeof second)) &&
           make(&b, args.b_dtype, args.b_transposed ? args.k : args.n, args.b_transposed ? args.n : args.k,
                args.b_stride) &&
           make(&a, args.a_dtype, args.a_transposed ? args.m : args.k, args.a_transposed ? args.k : args.m,
                args.a_stride) &&
           make(&c, args.c_dtype, args.n, args.m, args.c_stride));
  }
  ~Description() {
    for (const lt::Layout layout : {a, b, c})
      if (layout != nullptr) api_.MatrixLayoutDestroy(layout);
    if (product != nullptr) api_.MatmulDescDestroy(product);
  }
  Description(const Description&) = delete;
  Description& operator=(const Description&) = delete;

  lt::Status status = lt::kSuccess;  // of creating it
  lt::Product product = nullptr;
  lt::Layout a = nullptr, b = nullptr, c = nullptr;

 private:
  bool did(lt::Status result) { return (status = result) == lt::kSuccess; }
  bool make(lt::Layout* layout, DType dtype, int64_t rows, int64_t cols, int64_t stride) {
    return did(api_.MatrixLayoutCreate(layout, type_of(dtype), static_cast<uint64_t>(rows), static_cast<uint64_t>(cols),
                                       stride));
  }
  const lt::Api& api_;
};

// cuBLASLt's constraints on an algorithm.
class Wishes {
 public:
  explicit Wishes(const lt::Api& api) : api_(api) {
    if ((status = api.MatmulPreferenceCreate(&preference)) != lt::kSuccess) return;
    set(lt::kMostWorkspace, kMostWorkspace);
    set(lt::kReductionSchemes, lt::kNoReduction);
    for (const int matrix : {lt::kAlignmentA, lt::kAlignmentB, lt::kAlignmentC, lt::kAlignmentD})
      set(matrix, kAlignment);
  }
  ~Wishes() {
    if (preference != nullptr) api_.MatmulPreferenceDestroy(preference);
  }
  Wishes(const Wishes&) = delete;
  Wishes& operator=(const Wishes&) = delete;

  lt::Status status = lt::kSuccess;
  lt::Preference preference = nullptr;

 private:
  template <typename T>
  void set(int attribute, const T& value) {
    const lt::Status result = api_.MatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value);
    if (status == lt::kSuccess) status = result;
  }
  const lt::Api& api_;
};

// The first of cuBLASLt's proposals, which it orders by expected time.
lt::Status first_proposal(const lt::Api& api, lt::Handle handle, const MatmulArgs& args, MatmulPlanArgs::Found* found) {
  const Description described(api, args);
  if (described.status != lt::kSuccess) return described.status;
  const Wishes wishes(api);
  if (wishes.status != lt::kSuccess) return wishes.status;
  lt::Heuristic proposals[kWanted] = {};
  int count = 0;
  const lt::Status status = api.MatmulAlgoGetHeuristic(handle, described.product, described.b, described.a, described.c,
                                                       described.c, wishes.preference, kWanted, proposals, &count);
  if (status != lt::kSuccess) return status;
  for (int i = 0; i < count && !found->there; ++i) {
    const lt::Heuristic& one = proposals[i];
    if (one.state != lt::kSuccess || one.workspace_bytes > kMostWorkspace) continue;
    found->there = true;
    static_assert(sizeof found->algorithm.words == sizeof one.algorithm.words);
    std::memcpy(found->algorithm.words, one.algorithm.words, sizeof one.algorithm.words);
    found->algorithm.workspace_bytes = static_cast<int64_t>(one.workspace_bytes);
  }
  return lt::kSuccess;
}

int32_t matmul_plan_cuda(const MatmulPlanArgs& args, RubricateStream* stream) {
  MatmulPlanArgs::Found& found = *args.found;
  found = {};
  const lt::Handle handle = lt::handle(stream->device, found.why, sizeof found.why);
  if (handle == nullptr) return RUBRICATE_OK;
  const lt::Api& api = lt::library().api;
  const lt::Status status = first_proposal(api, handle, args.product, &found);
  cudaGetLastError();  // clear the error: there is no algorithm then
  if (!found.there)
    std::snprintf(found.why, sizeof found.why, "cublasLtMatmulAlgoGetHeuristic gave %s",
                  status == lt::kSuccess ? "no algorithm" : api.GetStatusName(status));
  return RUBRICATE_OK;
}

int32_t cublaslt_cuda(const CublasltArgs& args, RubricateStream* stream) {
  CublasltArgs::Found& found = *args.found;
  found = {};
  if (lt::handle(stream->device, found.why, sizeof found.why) != nullptr) found.version = lt::library().version;
  cudaGetLastError();  // clear the error: our own kernels are used then
  return RUBRICATE_OK;
}

RUBRICATE_KERNEL("cublaslt/1", cublaslt_cuda);
RUBRICATE_KERNEL("matmul_plan/1", matmul_plan_cuda);

}  // namespace

int32_t matmul_cublaslt(const MatmulArgs& args, RubricateStream* stream) {
  char sentence[400];
  const lt::Handle handle = lt::handle(stream->device, sentence, sizeof sentence);
  if (handle == nullptr) return failed(RUBRICATE_INVALID, sentence);
  const lt::Api& api = lt::library().api;
  const Description described(api, args);
  lt::Status status = described.status;
  if (status == lt::kSuccess) {
#if defined(RUBRICATE_EMULATED)
    const emulation::DeviceAccess access;
#endif
    lt::Algorithm algorithm;
    std::memcpy(algorithm.words, args.algorithm.words, sizeof algorithm.words);
    const float alpha = 1.0f, beta = args.accumulate ? 1.0f : 0.0f;
    status = api.Matmul(handle, described.product, &alpha, args.b, described.b, args.a, described.a, &beta, args.c,
                        described.c, args.c, described.c, &algorithm, args.workspace,
                        static_cast<size_t>(args.algorithm.workspace_bytes), stream->handle);
  }
  if (status == lt::kSuccess) return RUBRICATE_OK;
  const cudaError_t error = cudaGetLastError();
  if (error != cudaSuccess) return failed(error, "cublasLtMatmul");
  std::snprintf(sentence, sizeof sentence, "cublasLtMatmul gave %s", api.GetStatusName(status));
  return failed(status == lt::kAllocFailed ? RUBRICATE_OUT_OF_MEMORY : RUBRICATE_INVALID, sentence);
}

}  // namespace rubricate::cuda
