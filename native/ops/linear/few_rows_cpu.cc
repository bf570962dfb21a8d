#include "ops/linear/few_rows_cpu.h"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <type_traits>

#include "device/cpu/thread_pool.h"

// Everything that a kernel calls in its loop must be inlined, or values go through memory.
#define RUBRICATE_FLAT __attribute__((noinline, flatten))

#define RUBRICATE_KERNELS_USE_BF16
#define RUBRICATE_KERNELS "ops/linear/few_rows_kernels.inl"
#include "device/cpu/simd/for_each_target.h"

namespace rubricate {
namespace {

// Of the weight, in a chunk: a few us of streaming, so that neither thread waits long for the other at the end.
constexpr int64_t kChunkBytes = 150 << 10;
constexpr int64_t kChunkStep = 32;  // a multiple of a kernel's block of columns on every instruction set

bool fits(int64_t m, int64_t n) { RUBRICATE_DISPATCH(few_rows_fit, m, n); }
int64_t packed_words(const MatmulArgs& args) { RUBRICATE_DISPATCH(few_rows_words, args); }
void pack(const MatmulArgs& args, float* x) { RUBRICATE_DISPATCH(few_rows_pack, args, x); }
void columns(const MatmulArgs& args, const float* x, int64_t begin, int64_t end) {
  RUBRICATE_DISPATCH(few_rows_columns, args, x, begin, end);
}

struct Free {
  void operator()(float* p) const { std::free(p); }
};

// This thread's own memory for a packed x; it only ever grows.
float* reserve(int64_t words) {
  static thread_local std::unique_ptr<float, Free> memory;
  static thread_local int64_t size = 0;
  if (words > size) {
    memory.reset();
    size = 0;
    const size_t bytes = (static_cast<size_t>(words) * sizeof(float) + 63) / 64 * 64;
    memory.reset(static_cast<float*>(std::aligned_alloc(64, bytes)));
    require(memory != nullptr, "ERR_OUT_OF_MEMORY", "Could not allocate ", bytes, " bytes for the rows of a matmul");
    size = words;
  }
  return memory.get();
}

int64_t chunk_columns(const MatmulArgs& args) {
  const int64_t row = std::max<int64_t>(args.k * dtype_size(args.b_dtype), 1);
  return std::clamp<int64_t>(kChunkBytes / row / kChunkStep, 1, 256 / kChunkStep) * kChunkStep;
}

}  // namespace

bool few_rows_take(const MatmulArgs& args) {
  return args.m >= 1 && args.b_transposed && !args.a_transposed && !args.accumulate && fits(args.m, args.n);
}

void few_rows_cpu(const MatmulArgs* products, int64_t count) {
  if (count == 0) return;
  float* x = reserve(packed_words(products[0]));
  pack(products[0], x);
  int64_t chunks = 0;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t step = chunk_columns(products[i]);
    chunks += (products[i].n + step - 1) / step;
  }
  ThreadPool::instance().parallel_for(chunks, [&](int64_t chunk) {
    for (int64_t i = 0; i < count; ++i) {
      const MatmulArgs& args = products[i];
      const int64_t step = chunk_columns(args), own = (args.n + step - 1) / step;
      if (chunk < own) return columns(args, x, chunk * step, std::min(args.n, (chunk + 1) * step));
      chunk -= own;
    }
  });
}

}  // namespace rubricate
