// A block of rows is transposed, so that the rows are lanes: column c of `groups` * 16 rows is at c * groups * 16.
#include "ops/linear/linear_transpose.inl"

// Rows past `rows` are zeros. Writes whole blocks of kLanes columns, which may be more than `cols`.
template <typename T>
inline void transpose_rows(const T* from, int64_t stride, int64_t rows, int64_t cols, int64_t width, float* to) {
  for (int64_t t = 0; t < width; t += kLanes)
    for (int64_t c = 0; c < cols; c += kLanes) {
      Lanes block[kLanes];
      if (t + kLanes <= rows && c + kLanes <= cols) {
#pragma GCC unroll 16
        for (int64_t i = 0; i < kLanes; ++i) block[i] = load_lanes(from + (t + i) * stride + c);
      } else {
        for (int64_t i = 0; i < kLanes; ++i) {
          T values[kLanes] = {};
          const int64_t left = std::min(kLanes, cols - c);
          if (t + i < rows) std::memcpy(values, from + (t + i) * stride + c, static_cast<size_t>(left) * sizeof(T));
          block[i] = load_lanes(values);
        }
      }
      transpose(block);
#pragma GCC unroll 16
      for (int64_t i = 0; i < kLanes; ++i) store_lanes(to + (c + i) * width + t, block[i]);
    }
}

inline void transpose_rows(DType dtype, const void* from, int64_t cols, int64_t begin, int64_t end, int64_t width,
                           float* to) {
  if (dtype == DType::bf16)
    transpose_rows(static_cast<const bf16*>(from) + begin * cols, cols, end - begin, cols, width, to);
  else
    transpose_rows(static_cast<const float*>(from) + begin * cols, cols, end - begin, cols, width, to);
}

// The sums of output r, of all rows of the block.
template <int kGroups>
inline void sum_entries(const SparseAddArgs& args, int64_t r, float* out) {
  constexpr int64_t kWidth = 16 * kGroups;
  F32x16 sums[kGroups];
#pragma GCC unroll 4
  for (int g = 0; g < kGroups; ++g) sums[g] = set1(-0.0f);
  for (int64_t i = args.starts[r]; i < args.starts[r + 1]; ++i) {
    const F32x16 v = set1(args.values[args.order != nullptr ? args.order[i] : i]);
    const float* const column = args.scratch + args.columns[i] * kWidth;
#pragma GCC unroll 4
    for (int g = 0; g < kGroups; ++g) sums[g] = fma(v, load(column + 16 * g), sums[g]);
  }
#pragma GCC unroll 4
  for (int g = 0; g < kGroups; ++g) store(out + 16 * g, sums[g]);
}

template <int kGroups, typename T, bool kFresh>
inline void add_block(const SparseAddArgs& args) {
  constexpr int64_t kWidth = 16 * kGroups;
  alignas(64) float sums[16 * kWidth], rows[kWidth * 16];  // of 16 outputs: [output, row], [row, output]
  for (int64_t r = args.first; r < args.last; r += 16) {
    const int64_t outputs = std::min<int64_t>(16, args.last - r);
    if (!kFresh && args.starts[r] == args.starts[r + outputs]) continue;
    for (int64_t j = 0; j < 16; ++j) {
      if (j < outputs)
        sum_entries<kGroups>(args, r + j, sums + j * kWidth);
      else
        std::fill_n(sums + j * kWidth, kWidth, 0.0f);
    }
    transpose_rows(sums, kWidth, 16, kWidth, 16, rows);
    T* const to = static_cast<T*>(args.to) + args.begin * args.outputs + r;
    const auto add_rows = [&](auto mask) {
      for (int64_t t = 0; t < args.end - args.begin; ++t) {
        T* const row = to + t * args.outputs;
        const F32x16 sum = load(rows + t * 16);
        store_masked(row, mask, kFresh ? sum : add(load_masked(row, mask), sum));
      }
    };
    outputs == 16 ? add_rows(AllLanes{}) : add_rows(first_lanes(outputs));
  }
}

template <int kGroups>
inline void add_groups(const SparseAddArgs& args) {
  transpose_rows(args.from_dtype, args.from, args.inputs, args.begin, args.end, 16 * kGroups, args.scratch);
  if (args.to_dtype == DType::bf16)
    args.fresh ? add_block<kGroups, bf16, true>(args) : add_block<kGroups, bf16, false>(args);
  else
    args.fresh ? add_block<kGroups, float, true>(args) : add_block<kGroups, float, false>(args);
}

// Only as many lanes as there are rows: one sequence that is decoded has one row.
inline void sparse_add(const SparseAddArgs& args) {
  switch ((args.end - args.begin + 15) / 16) {
    case 1:
      return add_groups<1>(args);
    case 2:
      return add_groups<2>(args);
    case 3:
      return add_groups<3>(args);
    default:
      return add_groups<4>(args);
  }
}

template <int kGroups>
inline void sum_groups(const SparseSumsArgs& args) {
  constexpr int64_t kWidth = 16 * kGroups;
  float* const x = args.scratch;
  float* const grad = x + (args.inputs + 16) * kWidth;
  transpose_rows(args.x_dtype, args.x, args.inputs, args.begin, args.end, kWidth, x);
  transpose_rows(args.grad_dtype, args.grad, args.outputs, args.begin, args.end, kWidth, grad);
  for (int64_t n = 0; n < args.outputs; ++n) {
    if (args.starts[n] == args.starts[n + 1]) continue;
    F32x16 g[kGroups];
#pragma GCC unroll 4
    for (int i = 0; i < kGroups; ++i) g[i] = load(grad + n * kWidth + 16 * i);
    for (int64_t i = args.starts[n]; i < args.starts[n + 1]; ++i) {
      const float* const column = x + args.columns[i] * kWidth;
      F32x16 sum = mul(g[0], load(column));
#pragma GCC unroll 4
      for (int j = 1; j < kGroups; ++j) sum = fma(g[j], load(column + 16 * j), sum);
      args.sums[i] = reduce_add(sum);
    }
  }
}

inline void sparse_sums(const SparseSumsArgs& args) {
  switch ((args.end - args.begin + 15) / 16) {
    case 1:
      return sum_groups<1>(args);
    case 2:
      return sum_groups<2>(args);
    case 3:
      return sum_groups<3>(args);
    default:
      return sum_groups<4>(args);
  }
}
