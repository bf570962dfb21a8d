// Blocking of the packed matmul, and its split over threads. A job is a block of rows by a block of columns, over all
// of k. It packs a slice of B (some hundred words of k) and runs the register tile over strips of it, which stay in the
// L2 cache, and over the panels of A, each of which stays in the L1 cache meanwhile. A is packed once for all jobs if
// that takes little memory, otherwise by each job. A tile starts from the sums of the previous slice of k, so the chain
// of an element never breaks, and no choice made here changes the result's bits.
#include "ops/linear/linear_cpu.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/integers.h"
#include "device/cpu/thread_pool.h"
#include "ops/shared/scratch.h"

#define RUBRICATE_KERNELS_USE_BF16
#define RUBRICATE_KERNELS "ops/linear/linear_kernels.inl"
#include "device/cpu/simd/for_each_target.h"

namespace rubricate {
namespace {

// Blocks of many rows.
constexpr int64_t kSharedBytes = 8 << 20;  // maximum of packed A that all jobs share
constexpr int64_t kJobRows = 1024;         // maximum; B is packed again for every block of rows
constexpr int64_t kJobCols = 1024;         // maximum; the unshared part of A is packed again for every block of columns
constexpr int64_t kSharedJobCols = 144, kOwnJobCols = 384;  // approximate, with a shared A and without
// A range of columns between two yields: multiply-adds for each thread, about 20 ms at 75 GFLOP/s; and the least columns, as
// A is packed again for each range, which costs 8 % at the least.
constexpr double kRangeWork = 0.75e9;
constexpr int64_t kRangeCols = 192;
// Few rows, as in decoding.
constexpr int64_t kFewRows = 16;
constexpr int64_t kFewDepth = 128, kFewCols = 32;  // maximum of packed B: half of the L1 cache

constexpr const char* kPacking = "the packing of a matmul";

PanelSource advance(PanelSource source, int64_t index, int64_t k) {
  const int64_t offset = source.k_contiguous ? index * source.stride + k : k * source.stride + index;
  source.data = static_cast<const char*>(source.data) + offset * dtype_size(source.dtype);
  source.count -= index;
  return source;
}

struct Job {
  int64_t row = 0, rows = 0, col = 0, cols = 0;
};

// The split into jobs: blocks of rows by blocks of columns. shares_a: A is packed once, for all jobs.
struct Grid {
  int64_t rows = 1, cols = 1;
  bool shares_a = false;
};

// Start and size of part `index` of `parts`, if panels of `width` are split evenly.
std::pair<int64_t, int64_t> part_of(int64_t count, int64_t width, int64_t index, int64_t parts) {
  const int64_t panels = ceil_div(count, width);
  const int64_t begin = index * panels / parts * width, end = (index + 1) * panels / parts * width;
  return {begin, std::min(end, count) - begin};
}

class Matmul {
 public:
  explicit Matmul(const MatmulArgs& args) : g_(args), kernels_(choose(args)) {
    a_ = {args.a, args.a_dtype, args.a_stride, !args.a_transposed, args.m};
    b_ = {args.b, args.b_dtype, args.b_stride, args.b_transposed, args.n};
    const int64_t words = std::max<int64_t>(1, words_of(args.k));
    depth_ = round_up(ceil_div(words, ceil_div(words, kernels_.depth)), kernels_.word_block);
  }

  void run() const {
    if (g_.m <= kFewRows)
      run_few_rows();
    else
      run_blocks();
  }

 private:
  static MatmulKernels choose(const MatmulArgs& args) {
    const bool both_bf16 = args.a_dtype == DType::bf16 && args.b_dtype == DType::bf16;
    RUBRICATE_DISPATCH(matmul_kernels, both_bf16);
  }
  int64_t words_of(int64_t k) const { return round_up(ceil_div(k, kernels_.k_per_word), kernels_.word_block); }

  // One strip for the slice [k, k + slice): `sums` holds its sums between slices.
  void run_strip(const Job& at, int64_t k, int64_t slice, const float* a, const float* b, float* sums,
                 int64_t sums_stride) const {
    TileArgs t;
    t.words = words_of(slice);
    t.a = a;
    t.b = b;
    t.rows = at.rows;
    t.cols = at.cols;
    t.c = static_cast<char*>(g_.c) + (at.row * g_.c_stride + at.col) * dtype_size(g_.c_dtype);
    t.c_dtype = g_.c_dtype;
    t.c_stride = g_.c_stride;
    t.bias = g_.bias == nullptr ? nullptr : g_.bias + at.col;
    t.from = sums;
    t.from_stride = t.partial_stride = sums_stride;
    if (k == 0) {
      t.from = g_.accumulate ? static_cast<const float*>(t.c) : nullptr;
      t.from_stride = g_.c_stride;
    }
    t.partial = k + slice < g_.k ? sums : nullptr;
    kernels_.strip(t);
  }

  // ---- many rows ----

  // A few jobs that are not a multiple of the threads leave threads idle at the end: use more blocks of columns, or, if
  // those would become narrow, of rows.
  void even_out(int64_t& row_blocks, int64_t& col_blocks, int64_t threads) const {
    const int64_t jobs = row_blocks * col_blocks;
    if (jobs % threads == 0 || jobs >= 8 * threads) return;
    constexpr int64_t kLeastCols = 192, kLeastRows = 96;
    const int64_t cols = round_up(col_blocks, threads / std::gcd(threads, row_blocks));
    const int64_t rows = round_up(row_blocks, threads / std::gcd(threads, col_blocks));
    if (g_.n / cols >= kLeastCols)
      col_blocks = cols;
    else if (g_.m / rows >= kLeastRows)
      row_blocks = rows;
  }

  // Several jobs per thread, so that no thread waits long at the end, if they stay wide enough for what each packs. Tuned
  // on AVX2.
  Grid tuned_grid(int64_t threads, bool can_share) const {
    int64_t rows = ceil_div(g_.m, kJobRows);
    const int64_t cols_of_job = can_share ? kSharedJobCols : kOwnJobCols;
    const int64_t wide = threads == 1 ? 1 : threads * std::clamp<int64_t>(g_.n * rows / (threads * cols_of_job), 1, 12);
    int64_t cols = std::max(ceil_div(g_.n, kJobCols), ceil_div(std::min(worth(), wide), rows));
    if (worth() > threads) even_out(rows, cols, threads);
    return {rows, cols, can_share};
  }

  // The cheapest of some grids whose number of jobs is a multiple of the parts, one for each thread that is worth waking,
  // by an estimate of one thread's time.
  Grid cheapest_grid(int64_t parts, bool can_share) const {
    const int64_t least_rows = ceil_div(g_.m, kJobRows), least_cols = ceil_div(g_.n, kJobCols);
    const int64_t row_panels = ceil_div(g_.m, kernels_.mr), col_panels = ceil_div(g_.n, kernels_.nr);
    // In cycles for a word of k; a packed word takes about one. Reading a shared A from the memory of another thread costs
    // a tenth.
    const auto cost = [&](const Grid& grid) {
      const int64_t jobs = ceil_div(grid.rows * grid.cols, parts);  // of the thread with the most
      const double height = static_cast<double>(ceil_div(row_panels, grid.rows) * kernels_.mr);
      const double width = static_cast<double>(ceil_div(col_panels, grid.cols) * kernels_.nr);
      const double sums = static_cast<double>(jobs) * height * width / kernels_.sums_per_cycle;
      const double m = static_cast<double>(g_.m) / static_cast<double>(parts);
      return (grid.shares_a ? 1.1 * sums + m : sums + static_cast<double>(jobs) * height) +
             static_cast<double>(jobs) * width;
    };
    Grid best{least_rows, round_up(least_cols, parts / std::gcd(parts, least_rows)), can_share};
    for (int64_t share = 1; share <= parts; ++share) {
      if (parts % share != 0) continue;
      const int64_t rows = least_rows * share;
      const Grid grid{rows, round_up(least_cols, parts / std::gcd(parts, rows)), false};
      if (cost(grid) < cost(best)) best = grid;
    }
    return best;
  }

  // The most jobs that are worth waking a thread for: of a million multiply-adds, about 20 us on AVX2.
  int64_t worth() const {
    const double work = static_cast<double>(g_.m) * static_cast<double>(g_.n) * static_cast<double>(g_.k);
    return static_cast<int64_t>(std::min(work / 1e6, 1e9)) + 1;
  }

  void run_blocks() const {
    const int64_t threads = ThreadPool::instance().size();
    const bool can_share = g_.k > 0 && shared_words() * int64_t{sizeof(float)} <= kSharedBytes;
    Grid grid =
        kernels_.grid_by_cost ? cheapest_grid(std::min(threads, worth()), can_share) : tuned_grid(threads, can_share);
    grid.rows = std::min(grid.rows, ceil_div(g_.m, kernels_.mr));
    grid.cols = std::min(grid.cols, ceil_div(g_.n, kernels_.nr));
    const float* a = grid.shares_a && grid.cols > 1 ? pack_shared_a() : nullptr;
    ThreadPool::instance().parallel_for(grid.rows * grid.cols, [&](int64_t chunk) {
      const auto [row, rows] = part_of(g_.m, kernels_.mr, chunk % grid.rows, grid.rows);
      const auto [col, cols] = part_of(g_.n, kernels_.nr, chunk / grid.rows, grid.cols);
      run_job({row, rows, col, cols}, a);
    });
  }

  int64_t shared_words() const { return round_up(g_.m, kernels_.mr) * words_of(g_.k); }

  // Offset of the panels of the slice that begins at `k` within the panels of all of A, from `row` on.
  int64_t shared_offset(int64_t k, int64_t row) const {
    const int64_t slice = std::min(depth_ * kernels_.k_per_word, g_.k - k);
    return round_up(g_.m, kernels_.mr) * (k / kernels_.k_per_word) + row * words_of(slice);
  }

  // All of A in panels, slice by slice, in memory of the calling thread.
  const float* pack_shared_a() const {
    static thread_local Scratch buffer;
    float* panels = buffer.reserve(shared_words(), kPacking);
    const int64_t grain = round_up(24, kernels_.mr);
    parallel_ranges(g_.m, grain, [&](int64_t begin, int64_t end) {
      const int64_t depth = depth_ * kernels_.k_per_word;
      for (int64_t k = 0; k < g_.k; k += depth)
        kernels_.pack_a(advance(a_, begin, k), std::min(depth, g_.k - k), end - begin,
                        panels + shared_offset(k, begin));
    });
    return panels;
  }

  // shared_a: from pack_shared_a, or null: then the job packs its own rows of A.
  void run_job(const Job& job, const float* shared_a) const {
    static thread_local Scratch buffer_a, buffer_b, buffer_c;
    const int64_t mr = kernels_.mr, nr = kernels_.nr, depth = depth_ * kernels_.k_per_word;
    const int64_t strip = std::max(nr, kernels_.strip_bytes / (depth_ * 4) / nr * nr);
    const int64_t block = shared_a != nullptr ? job.rows : std::max(mr, kernels_.block_bytes / (depth_ * 4) / mr * mr);
    float* packed =
        shared_a != nullptr ? nullptr : buffer_a.reserve(round_up(std::min(block, job.rows), mr) * depth_, kPacking);
    float* b = buffer_b.reserve(round_up(job.cols, nr) * depth_, kPacking);
    // Between slices the sums are kept in C itself if it is fp32.
    const bool in_place = g_.c_dtype == DType::f32;
    float* sums = in_place ? static_cast<float*>(g_.c) + job.row * g_.c_stride + job.col
                           : buffer_c.reserve(g_.k > depth ? job.rows * job.cols : 0, kPacking);
    const int64_t sums_stride = in_place ? g_.c_stride : job.cols;

    for (int64_t k = 0; k == 0 || k < g_.k; k += depth) {
      const int64_t slice = std::min(depth, g_.k - k), words = words_of(slice);
      kernels_.pack_b(advance(b_, job.col, k), slice, job.cols, b);
      for (int64_t i = 0; i < job.rows; i += block) {
        const int64_t rows = std::min(block, job.rows - i);
        if (packed != nullptr) kernels_.pack_a(advance(a_, job.row + i, k), slice, rows, packed);
        const float* a = packed != nullptr ? packed : shared_a + shared_offset(k, job.row + i);
        for (int64_t c = 0; c < job.cols; c += strip)
          run_strip({job.row + i, rows, job.col + c, std::min(strip, job.cols - c)}, k, slice, a, b + c * words,
                    sums + i * sums_stride + c, sums_stride);
      }
    }
  }

  // ---- few rows ----
  // Memory-bound, so the weight is streamed once, through panels that stay in the L1 cache.

  void run_few_rows() const {
    static thread_local Scratch buffer_a;
    float* a = buffer_a.reserve(round_up(g_.m, kernels_.mr) * words_of(g_.k), kPacking);
    kernels_.pack_a(a_, g_.k, g_.m, a);
    const int64_t grain = round_up((1 << 17) / std::max<int64_t>(g_.k, 1) + 1, kernels_.nr);  // about 20 us
    parallel_ranges(g_.n, grain, [&](int64_t begin, int64_t end) {
      for (int64_t col = begin; col < end; col += kernels_.nr) run_few_cols(a, col, std::min(kernels_.nr, end - col));
    });
  }

  void run_few_cols(const float* a, int64_t col, int64_t cols) const {
    alignas(64) float b[kFewDepth * kFewCols];
    alignas(64) float sums[kFewRows * kFewCols];
    const int64_t mr = kernels_.mr, depth = kFewDepth * kernels_.k_per_word, a_words = words_of(g_.k);
    for (int64_t k = 0; k == 0 || k < g_.k; k += depth) {
      const int64_t slice = std::min(depth, g_.k - k);
      kernels_.pack_b(advance(b_, col, k), slice, cols, b);
      for (int64_t r = 0; r < g_.m; r += mr)
        run_strip({r, std::min(mr, g_.m - r), col, cols}, k, slice, a + r * a_words + k / kernels_.k_per_word * mr, b,
                  sums + r * kFewCols, kFewCols);
    }
  }

  const MatmulArgs& g_;
  MatmulKernels kernels_;
  PanelSource a_, b_;
  int64_t depth_ = 0;  // words of k in a slice, the last may have fewer
};

void column_sum_range(const ColumnSumArgs& args, int64_t begin, int64_t end) {
  RUBRICATE_DISPATCH(column_sum, args, begin, end);
}

}  // namespace

void matmul_cpu(const MatmulArgs& args) {
  require(!args.accumulate || args.c_dtype == DType::f32, "ERR_DTYPE",
          "Expected a float32 C for a matmul that accumulates but received ", dtype_name(args.c_dtype));
  if (few_rows_take(args)) return few_rows_cpu({&args, 1});
  if (args.m > 0 && args.n > 0) Matmul(args).run();
}

int64_t range_columns(const MatmulArgs& args) {
  const double column = static_cast<double>(args.m) * static_cast<double>(args.k);
  const double columns = kRangeWork * static_cast<double>(ThreadPool::instance().size()) / std::max(column, 1.0);
  return std::max(static_cast<int64_t>(std::min(columns, 1e9)) / kRangeCols * kRangeCols, kRangeCols);
}

void matmul_in_ranges(const MatmulArgs& args, int64_t columns, const std::function<void()>& before) {
  for (int64_t col = 0; col < args.n; col += columns) {
    before();
    MatmulArgs range = args;
    range.n = std::min(columns, args.n - col);
    const int64_t offset = args.b_transposed ? col * args.b_stride : col;
    range.b = static_cast<const char*>(args.b) + offset * dtype_size(args.b_dtype);
    range.c = static_cast<char*>(args.c) + col * dtype_size(args.c_dtype);
    if (args.bias != nullptr) range.bias = args.bias + col;
    matmul_cpu(range);
  }
}

void matmuls_cpu(const std::vector<MatmulArgs>& products) {
  const bool together = std::all_of(products.begin(), products.end(), [&](const MatmulArgs& args) {
    return few_rows_take(args) && args.b_dtype == products.front().b_dtype;
  });
  if (together) return few_rows_cpu(products);
  for (const MatmulArgs& args : products) matmul_cpu(args);
}

void column_sum_cpu(const ColumnSumArgs& args) {
  const int64_t grain = std::max<int64_t>(64, (1 << 18) / std::max<int64_t>(args.rows, 1) / 16 * 16);
  parallel_ranges(args.cols, grain, [&](int64_t begin, int64_t end) { column_sum_range(args, begin, end); });
}

}  // namespace rubricate
