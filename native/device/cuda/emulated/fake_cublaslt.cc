// A fake cuBLASLt for tests: the functions that the plug-in uses, on the emulated device's memory, by cuBLAS's rules
// (column-major; D = alpha op(A) op(B) + beta C; sums in fp32, one rounding; C is not read if beta is 0). It refuses
// what the real library refuses, and requests that the plug-in promises never to make. Environment variables, read in
// each call, control it:
//
//   RUBRICATE_EMULATION_CUBLASLT_VERSION  130101
//   RUBRICATE_EMULATION_CUBLASLT          "no handle", "no algorithm" or "no product": what fails
//
// Algorithms need a workspace, to which they write. If split sums are allowed, sums are split, in an order that changes
// with each call.
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <initializer_list>

#include "base/dtype.h"
#include "device/cuda/cublaslt.h"

#define RUBRICATE_FAKE extern "C" __attribute__((visibility("default")))

using namespace rubricate;
using namespace rubricate::cuda;

namespace rubricate::cuda::lt {

struct HandleOfLt {
  uint64_t made;
};
struct ProductOfLt {
  int compute, scale;
  int32_t transpose_a = 0, transpose_b = 0;
};
struct LayoutOfLt {
  int type;
  uint64_t rows, cols;
  int64_t stride;
};
struct PreferenceOfLt {
  uint64_t workspace = 0;
  uint32_t reductions = 7;
  uint32_t alignment[4] = {256, 256, 256, 256};
};

}  // namespace rubricate::cuda::lt

namespace {

constexpr lt::Status kNotInitialized = 1, kInvalid = 7, kInternal = 14, kNotSupported = 15;
constexpr uint64_t kMark = 0x66616b65, kWorkspace = 4096;
lt::HandleOfLt the_handle{kMark};

const char* setting(const char* name, const char* usual) {
  const char* const text = std::getenv(name);
  return text != nullptr ? text : usual;
}
bool fails(const char* what) { return std::strcmp(setting("RUBRICATE_EMULATION_CUBLASLT", ""), what) == 0; }

template <typename T>
lt::Status set(T* attribute, const void* value, size_t bytes) {
  if (value == nullptr || bytes != sizeof(T)) return kInvalid;
  std::memcpy(attribute, value, bytes);
  return lt::kSuccess;
}

int64_t bytes_of(int type) { return type == lt::kBfloat16 ? 2 : 4; }

// op(A) is rows x sum, op(B) sum x cols.
struct Sizes {
  uint64_t rows, cols, sum;
};
Sizes sizes_of(const lt::ProductOfLt& product, const lt::LayoutOfLt& a, const lt::LayoutOfLt& c) {
  return {c.rows, c.cols, product.transpose_a != 0 ? a.rows : a.cols};
}

lt::Status check(const lt::ProductOfLt* product, const lt::LayoutOfLt* a, const lt::LayoutOfLt* b,
                 const lt::LayoutOfLt* c, const lt::LayoutOfLt* d) {
  if (product == nullptr || a == nullptr || b == nullptr || c == nullptr || d == nullptr) return kInvalid;
  const auto [rows, cols, sum] = sizes_of(*product, *a, *c);
  const uint64_t rows_a = product->transpose_a != 0 ? a->cols : a->rows;
  const uint64_t sum_b = product->transpose_b != 0 ? b->cols : b->rows;
  const uint64_t cols_b = product->transpose_b != 0 ? b->rows : b->cols;
  if (rows_a != rows || sum_b != sum || cols_b != cols || rows * cols * sum == 0) return kInvalid;
  if (d->rows != c->rows || d->cols != c->cols || d->stride != c->stride || d->type != c->type) return kInvalid;
  for (const lt::LayoutOfLt* matrix : {a, b, c})
    if (matrix->stride < static_cast<int64_t>(matrix->rows)) return kInvalid;
  if (product->compute != lt::kComputeFloat32 || product->scale != lt::kFloat32 || a->type != b->type ||
      (a->type == lt::kFloat32 && c->type != lt::kFloat32))
    return kNotSupported;
  for (const lt::LayoutOfLt* matrix : {a, b, c})
    if (matrix->stride * bytes_of(matrix->type) % 16 != 0) return kNotSupported;
  return lt::kSuccess;
}

// A key that identifies the matmul.
uint64_t sign(const lt::ProductOfLt& product, const lt::LayoutOfLt& a, const lt::LayoutOfLt& b,
              const lt::LayoutOfLt& c) {
  uint64_t mixed = kMark;
  const auto mix = [&](uint64_t x) { mixed = (mixed ^ x) * 0x9e3779b97f4a7c15u; };
  mix(static_cast<uint64_t>(2 * product.transpose_a + product.transpose_b));
  for (const lt::LayoutOfLt* matrix : {&a, &b, &c}) {
    mix(matrix->rows), mix(matrix->cols), mix(static_cast<uint64_t>(matrix->stride));
    mix(static_cast<uint64_t>(matrix->type));
  }
  return mixed;
}

float read(const void* matrix, int type, int64_t index) {
  if (type == lt::kBfloat16) return to_float(static_cast<const bf16*>(matrix)[index]);
  return static_cast<const float*>(matrix)[index];
}

// A matrix after op: element (row, col).
struct Factor {
  const void* data;
  const lt::LayoutOfLt* layout;
  bool transposed;
  float at(uint64_t row, uint64_t col) const {
    const auto first = static_cast<int64_t>(transposed ? col : row),
               second = static_cast<int64_t>(transposed ? row : col);
    return read(data, layout->type, first + second * layout->stride);
  }
};

void multiply(const Sizes& sizes, const Factor& a, const Factor& b, float alpha, float beta, const void* c, void* d,
              const lt::LayoutOfLt& layout, uint64_t start) {
  for (uint64_t col = 0; col < sizes.cols; ++col)
    for (uint64_t row = 0; row < sizes.rows; ++row) {
      float total = 0.0f;
      for (uint64_t i = 0; i < sizes.sum; ++i) {
        const uint64_t k = (start + i) % sizes.sum;
        total = std::fmaf(a.at(row, k), b.at(k, col), total);
      }
      const int64_t index = static_cast<int64_t>(row) + static_cast<int64_t>(col) * layout.stride;
      float value = alpha * total;
      if (beta != 0.0f) value += beta * read(c, layout.type, index);
      if (layout.type == lt::kBfloat16)
        static_cast<bf16*>(d)[index] = from_float<bf16>(value);
      else
        static_cast<float*>(d)[index] = value;
    }
}

}  // namespace

RUBRICATE_FAKE size_t cublasLtGetVersion() {
  return std::strtoull(setting("RUBRICATE_EMULATION_CUBLASLT_VERSION", "130101"), nullptr, 10);
}
RUBRICATE_FAKE const char* cublasLtGetStatusName(lt::Status status) {
  return status == kNotSupported     ? "CUBLAS_STATUS_NOT_SUPPORTED"
         : status == kInvalid        ? "CUBLAS_STATUS_INVALID_VALUE"
         : status == kNotInitialized ? "CUBLAS_STATUS_NOT_INITIALIZED"
                                     : "CUBLAS_STATUS_INTERNAL_ERROR";
}
RUBRICATE_FAKE lt::Status cublasLtCreate(lt::Handle* handle) {
  if (fails("no handle")) return kNotInitialized;
  *handle = &the_handle;
  return lt::kSuccess;
}

RUBRICATE_FAKE lt::Status cublasLtMatmulDescCreate(lt::Product* product, int compute, int scale) {
  *product = new lt::ProductOfLt{compute, scale};
  return lt::kSuccess;
}
RUBRICATE_FAKE lt::Status cublasLtMatmulDescDestroy(lt::Product product) {
  delete product;
  return lt::kSuccess;
}
RUBRICATE_FAKE lt::Status cublasLtMatmulDescSetAttribute(lt::Product product, int attribute, const void* value,
                                                         size_t bytes) {
  if (attribute == lt::kTransposeA) return set(&product->transpose_a, value, bytes);
  if (attribute == lt::kTransposeB) return set(&product->transpose_b, value, bytes);
  return kInvalid;
}

RUBRICATE_FAKE lt::Status cublasLtMatrixLayoutCreate(lt::Layout* layout, int type, uint64_t rows, uint64_t cols,
                                                     int64_t stride) {
  if (type != lt::kFloat32 && type != lt::kBfloat16) return kInvalid;
  *layout = new lt::LayoutOfLt{type, rows, cols, stride};
  return lt::kSuccess;
}
RUBRICATE_FAKE lt::Status cublasLtMatrixLayoutDestroy(lt::Layout layout) {
  delete layout;
  return lt::kSuccess;
}

RUBRICATE_FAKE lt::Status cublasLtMatmulPreferenceCreate(lt::Preference* preference) {
  *preference = new lt::PreferenceOfLt;
  return lt::kSuccess;
}
RUBRICATE_FAKE lt::Status cublasLtMatmulPreferenceDestroy(lt::Preference preference) {
  delete preference;
  return lt::kSuccess;
}
RUBRICATE_FAKE lt::Status cublasLtMatmulPreferenceSetAttribute(lt::Preference preference, int attribute,
                                                               const void* value, size_t bytes) {
  if (attribute == lt::kMostWorkspace) return set(&preference->workspace, value, bytes);
  if (attribute == lt::kReductionSchemes) return set(&preference->reductions, value, bytes);
  if (attribute >= lt::kAlignmentA && attribute <= lt::kAlignmentD)
    return set(&preference->alignment[attribute - lt::kAlignmentA], value, bytes);
  return kInvalid;
}

// The first proposal is not suitable, the second is.
RUBRICATE_FAKE lt::Status cublasLtMatmulAlgoGetHeuristic(lt::Handle handle, lt::Product product, lt::Layout a,
                                                         lt::Layout b, lt::Layout c, lt::Layout d,
                                                         lt::Preference preference, int wanted,
                                                         lt::Heuristic* proposals, int* count) {
  *count = 0;
  if (handle != &the_handle || preference == nullptr || wanted < 2) return kInvalid;
  if (const lt::Status status = check(product, a, b, c, d)) return status;
  if (fails("no algorithm") || preference->workspace < kWorkspace) return kNotSupported;
  uint64_t alignment = 256;
  for (const uint32_t one : preference->alignment) alignment = one < alignment ? one : alignment;
  proposals[0] = {};
  proposals[0].state = kNotSupported;
  proposals[1] = {};
  const uint64_t words[] = {sign(*product, *a, *b, *c), preference->reductions, alignment};
  std::memcpy(proposals[1].algorithm.words, words, sizeof words);
  proposals[1].workspace_bytes = kWorkspace;
  *count = 2;
  return lt::kSuccess;
}

RUBRICATE_FAKE lt::Status cublasLtMatmul(lt::Handle handle, lt::Product product, const void* alpha, const void* a,
                                         lt::Layout a_layout, const void* b, lt::Layout b_layout, const void* beta,
                                         const void* c, lt::Layout c_layout, void* d, lt::Layout d_layout,
                                         const lt::Algorithm* algorithm, void* workspace, size_t workspace_bytes,
                                         void* stream) {
  static uint64_t calls = 0;
  if (fails("no product")) return kInternal;
  if (handle != &the_handle || alpha == nullptr || beta == nullptr || algorithm == nullptr || stream == nullptr)
    return kInvalid;
  if (const lt::Status status = check(product, a_layout, b_layout, c_layout, d_layout)) return status;
  if (algorithm->words[0] != sign(*product, *a_layout, *b_layout, *c_layout)) return kNotSupported;
  for (const void* matrix : {a, b, c, static_cast<const void*>(d)})
    if (matrix == nullptr || reinterpret_cast<uintptr_t>(matrix) % algorithm->words[2] != 0) return kInvalid;
  if (workspace == nullptr || workspace_bytes < kWorkspace || reinterpret_cast<uintptr_t>(workspace) % 16 != 0)
    return kInvalid;
  std::memset(workspace, 0xff, kWorkspace);
  const Sizes sizes = sizes_of(*product, *a_layout, *c_layout);
  const uint64_t start = algorithm->words[1] != 0 ? calls++ % sizes.sum : 0;
  multiply(sizes, {a, a_layout, product->transpose_a != 0}, {b, b_layout, product->transpose_b != 0},
           *static_cast<const float*>(alpha), *static_cast<const float*>(beta), c, d, *c_layout, start);
  return lt::kSuccess;
}
