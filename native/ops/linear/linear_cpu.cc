// Blocking of the packed matmul and its split over threads. A job is a block of rows by a block of columns, over all of
// k: it packs a slice of B (kDepth of k), then row block after row block of A, and runs the register tile over them.
// A tile starts from the sums that the slice of k before it left, so the chain of an element never breaks and no choice
// made here shows in the result.
#include "ops/linear/linear_cpu.h"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <new>

#include "device/cpu/thread_pool.h"

#define RUBRICATE_KERNELS_USE_BF16
#define RUBRICATE_KERNELS "ops/linear/linear_kernels.inl"
#include "device/cpu/simd/for_each_target.h"

namespace rubricate {
namespace {

constexpr int64_t kDepth = 256;             // words of k in a slice: a panel of B stays in the level-1 cache
constexpr int64_t kBlockBytes = 256 << 10;  // of packed A: stays in the level-2 cache
constexpr int64_t kJobRows = 768;           // at most; B is packed again for every block of rows
constexpr int64_t kJobCols = 512;           // at most; A is packed again for every block of columns

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

// Memory of one thread, aligned for the vector loads, that only ever grows.
class Buffer {
 public:
  float* reserve(int64_t count) {
    if (count > count_) {
      const int64_t bytes = round_up(count * int64_t{sizeof(float)}, 64);
      memory_.reset();
      memory_.reset(static_cast<float*>(std::aligned_alloc(64, static_cast<size_t>(bytes))));
      count_ = memory_ ? count : 0;
      require(memory_ != nullptr, "ERR_OUT_OF_MEMORY", "Could not allocate ", bytes,
              " bytes for the packing of a matmul");
    }
    return memory_.get();
  }

 private:
  struct Free {
    void operator()(float* p) const { std::free(p); }
  };
  std::unique_ptr<float, Free> memory_;
  int64_t count_ = 0;
};

PanelSource advance(PanelSource source, int64_t index, int64_t k) {
  const int64_t offset = source.k_contiguous ? index * source.stride + k : k * source.stride + index;
  source.data = static_cast<const char*>(source.data) + offset * dtype_size(source.dtype);
  source.count -= index;
  return source;
}

struct Job {
  int64_t row = 0, rows = 0, col = 0, cols = 0;
};

class Matmul {
 public:
  explicit Matmul(const MatmulArgs& args) : g_(args), kernels_(choose(args)) {
    a_ = {args.a, args.a_dtype, args.a_stride, !args.a_transposed, args.m};
    b_ = {args.b, args.b_dtype, args.b_stride, args.b_transposed, args.n};
  }

  void run() const {
    const int64_t threads = ThreadPool::instance().size();
    const int64_t row_blocks = ceil_div(g_.m, kJobRows);
    const int64_t job_rows = round_up(ceil_div(g_.m, row_blocks), kernels_.mr);
    // At least a job a thread, unless it were too little to be worth waking one (about 20 us).
    int64_t col_blocks = ceil_div(g_.n, kJobCols);
    const double work = static_cast<double>(g_.m) * static_cast<double>(g_.n) * static_cast<double>(g_.k);
    const int64_t worth = static_cast<int64_t>(std::min(work / 1e6, 1e9)) / row_blocks + 1;
    col_blocks = std::max(col_blocks, std::min(worth, round_up(col_blocks * row_blocks, threads) / row_blocks));
    const int64_t job_cols = round_up(ceil_div(g_.n, col_blocks), kernels_.nr);
    const int64_t across = ceil_div(g_.n, job_cols), down = ceil_div(g_.m, job_rows);
    ThreadPool::instance().parallel_for(across * down, [&](int64_t chunk) {
      const int64_t row = chunk % down * job_rows, col = chunk / down * job_cols;
      run_job({row, std::min(job_rows, g_.m - row), col, std::min(job_cols, g_.n - col)});
    });
  }

 private:
  static MatmulKernels choose(const MatmulArgs& args) {
    const bool both_bf16 = args.a_dtype == DType::bf16 && args.b_dtype == DType::bf16;
    RUBRICATE_DISPATCH(matmul_kernels, both_bf16);
  }

  void pack(const PanelSource& source, int64_t k, int64_t count, int64_t width, float* panels) const {
    const int64_t panel = ceil_div(k, kernels_.k_per_word) * width;
    for (int64_t i = 0; i < count; i += width, panels += panel)
      kernels_.pack_panel(advance(source, i, 0), k, width, panels);
  }

  void run_job(const Job& job) const {
    static thread_local Buffer buffer_a, buffer_b, buffer_c;
    const int64_t mr = kernels_.mr, nr = kernels_.nr, depth = kDepth * kernels_.k_per_word;
    const int64_t deepest = std::min(kDepth, ceil_div(g_.k, kernels_.k_per_word));
    const int64_t block = std::max(mr, kBlockBytes / (deepest * 4 + 4) / mr * mr);
    float* a = buffer_a.reserve(round_up(std::min(block, job.rows), mr) * deepest + kPanelOverrun);
    float* b = buffer_b.reserve(round_up(job.cols, nr) * deepest + kPanelOverrun);
    // Where the sums wait between slices of k: in C itself when it is fp32.
    const bool in_place = g_.c_dtype == DType::f32;
    float* sums = in_place       ? static_cast<float*>(g_.c) + job.row * g_.c_stride + job.col
                  : g_.k > depth ? buffer_c.reserve(job.rows * job.cols)
                                 : nullptr;
    const int64_t sums_stride = in_place ? g_.c_stride : job.cols;

    for (int64_t k = 0; k == 0 || k < g_.k; k += depth) {
      const int64_t slice = std::min(depth, g_.k - k);
      const bool first = k == 0, last = k + depth >= g_.k;
      pack(advance(b_, job.col, k), slice, job.cols, nr, b);
      for (int64_t i = 0; i < job.rows; i += block) {
        TileArgs t;
        t.words = ceil_div(slice, kernels_.k_per_word);
        const int64_t rows = std::min(block, job.rows - i);
        pack(advance(a_, job.row + i, k), slice, rows, mr, a);
        t.from_stride = t.partial_stride = sums_stride;
        t.c_dtype = g_.c_dtype;
        t.c_stride = g_.c_stride;
        for (int64_t c = 0; c < job.cols; c += nr)
          for (int64_t r = 0; r < rows; r += mr) {
            t.a = a + r * t.words;
            t.b = b + c * t.words;
            t.rows = std::min(mr, rows - r);
            t.cols = std::min(nr, job.cols - c);
            float* here = sums == nullptr ? nullptr : sums + (i + r) * sums_stride + c;
            t.from = first && !g_.accumulate ? nullptr : here;
            t.partial = last ? nullptr : here;
            t.c = static_cast<char*>(g_.c) + ((job.row + i + r) * g_.c_stride + job.col + c) * dtype_size(g_.c_dtype);
            t.bias = g_.bias == nullptr ? nullptr : g_.bias + job.col + c;
            kernels_.tile(t);
          }
      }
    }
  }

  const MatmulArgs& g_;
  MatmulKernels kernels_;
  PanelSource a_, b_;
};

void column_sum_range(const ColumnSumArgs& args, int64_t begin, int64_t end) {
  RUBRICATE_DISPATCH(column_sum, args, begin, end);
}

}  // namespace

void matmul_cpu(const MatmulArgs& args) {
  require(!args.accumulate || args.c_dtype == DType::f32, "ERR_DTYPE",
          "Expected a float32 C for a matmul that accumulates but received ", dtype_name(args.c_dtype));
  if (args.m > 0 && args.n > 0) Matmul(args).run();
}

void column_sum_cpu(const ColumnSumArgs& args) {
  const int64_t grain = std::max<int64_t>(64, (1 << 18) / std::max<int64_t>(args.rows, 1) / 16 * 16);
  parallel_ranges(args.cols, grain, [&](int64_t begin, int64_t end) { column_sum_range(args, begin, end); });
}

}  // namespace rubricate
