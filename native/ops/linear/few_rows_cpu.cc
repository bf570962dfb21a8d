#include "ops/linear/linear_cpu.h"

#include <algorithm>
#include <type_traits>

#include "base/integers.h"
#include "device/cpu/thread_pool.h"
#include "ops/shared/scratch.h"

// All functions that a kernel calls in its loop must be inlined, or values go through memory.
#define RUBRICATE_FLAT __attribute__((noinline, flatten))

#define RUBRICATE_KERNELS_USE_BF16
#define RUBRICATE_KERNELS "ops/linear/few_rows_kernels.inl"
#include "device/cpu/simd/for_each_target.h"

namespace rubricate {
namespace {

// Bytes of the weight in a chunk: a few us of streaming, so that no thread waits long for another at the end, but still
// streams of several pages. A chunk below the minimum is not worth waking a thread for.
constexpr int64_t kChunkBytes = 200 << 10, kLeastBytes = 64 << 10;

bool fits(int64_t m, int64_t n) { RUBRICATE_DISPATCH(few_rows_fit, m, n); }
int64_t streams(const MatmulArgs& args) { RUBRICATE_DISPATCH(few_rows_streams, args); }
int64_t block_columns() { RUBRICATE_DISPATCH(few_rows_block); }
int64_t packed_words(const MatmulArgs& args) { RUBRICATE_DISPATCH(few_rows_words, args); }
void pack(const MatmulArgs& args, float* x) { RUBRICATE_DISPATCH(few_rows_pack, args, x); }
void columns(const MatmulArgs& args, const float* x, int64_t begin, int64_t end) {
  RUBRICATE_DISPATCH(few_rows_columns, args, x, begin, end);
}

// How the columns of a matmul are split: into blocks of rows of the weight, the same number for every thread.
class Split {
 public:
  Split(const MatmulArgs& args, int64_t threads)
      : columns_(args.n), streams_(streams(args)), length_(args.n / streams_) {
    const int64_t bytes = args.n * args.k * dtype_size(args.b_dtype), longest = block_columns() / streams_ - 2;
    const int64_t least = std::max((bytes + kChunkBytes / 2) / kChunkBytes, ceil_div(length_, longest));
    const int64_t most = std::min(length_, bytes / kLeastBytes);
    chunks_ = std::clamp<int64_t>(round_up(least, threads), 1, std::max<int64_t>(most, 1));
  }
  int64_t chunks() const { return chunks_; }
  int64_t begin(int64_t chunk) const { return chunk < chunks_ ? at(chunk) * streams_ : columns_; }

 private:
  // A stream has an odd number of rows: for common sizes, such as 768 values of bf16, an even number of rows is a
  // multiple of 4 KiB, and streams at that distance evict each other's lines from the L1 cache.
  int64_t at(int64_t chunk) const {
    const int64_t even = chunk * length_ / chunks_;
    return even - (even + chunk) % 2;
  }

  int64_t columns_, streams_, length_, chunks_;
};

}  // namespace

bool few_rows_take(const MatmulArgs& args) {
  return args.m >= 1 && args.b_transposed && !args.a_transposed && !args.accumulate && fits(args.m, args.n);
}

void few_rows_cpu(std::span<const MatmulArgs> products) {
  if (products.empty()) return;
  static thread_local Scratch packed;
  float* x = packed.reserve(packed_words(products[0]), "the rows of a matmul");
  pack(products[0], x);
  const int64_t threads = ThreadPool::instance().size();
  int64_t chunks = 0;
  for (const MatmulArgs& args : products) chunks += Split(args, threads).chunks();
  ThreadPool::instance().parallel_for(chunks, [&](int64_t chunk) {
    for (const MatmulArgs& args : products) {
      const Split split(args, threads);
      if (chunk < split.chunks()) return columns(args, x, split.begin(chunk), split.begin(chunk + 1));
      chunk -= split.chunks();
    }
  });
}

}  // namespace rubricate
