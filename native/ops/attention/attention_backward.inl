// Backward, with D = dO . o and the scores recomputed from q, k and the saved lse:
//   p = exp(scale q . k - lse);  dp = dO . v;  ds = scale p (dp - D)
//   dq = ds k;  dk = ds^T q;  dv = p^T dO
// dq sums over keys ascending; dk and dv over rows ascending (rows as in attention_cpu.h). kWindow as in
// attention_forward.inl.

constexpr int64_t kBackwardRows = 48;  // rows whose p and ds are in the scratch memory together

struct BackwardScratch {
  float *q, *dout;                     // [kBackwardRows, padded]
  float *p, *ds;                       // [kBackwardRows, kKeyBlock]
  float *wide, *keys;                  // [kKeyBlock, padded]
  float *keys_across, *values_across;  // [head_dim, kKeyBlock]
  float *dk, *dv;                      // [kKeyBlock, padded]
  float* dq;                           // [rows, padded]
};

inline BackwardScratch backward_scratch(int64_t rows, int64_t padded) {
  const int64_t tile = kBackwardRows * padded, weights = kBackwardRows * kKeyBlock, block = kKeyBlock * padded;
  float* at = scratch(2 * tile + 2 * weights + 6 * block + rows * padded);
  const auto take = [&](int64_t count) { return std::exchange(at, at + count); };
  BackwardScratch s;
  s.q = take(tile);
  s.dout = take(tile);
  s.p = take(weights);
  s.ds = take(weights);
  s.wide = take(block);
  s.keys = take(block);
  s.keys_across = take(block);
  s.values_across = take(block);
  s.dk = take(block);
  s.dv = take(block);
  s.dq = take(rows * padded);
  return s;
}

// One block's keys, and keys and values transposed [head_dim, kKeyBlock].
struct BlockPanels {
  Panels<float> keys, keys_across, values_across;
};

// The context of a task: sizes, and the offsets of its rows.
struct BackwardView {
  const AttentionBackwardArgs& args;
  const AttentionTask& task;
  int64_t head_dim, padded, group, start;
  bool scores_gradient;  // whether ds is needed
  // The first key of a block that a row sees, negative if it also sees keys before the block.
  int64_t begin(int64_t row, int64_t base) const { return args.shape.first_key(row / group) - base; }
  int64_t flat(int64_t row) const {  // offset in [T, heads]
    return (start + row / group) * args.shape.heads + task.kv_head * group + row % group;
  }
};

// p and ds of rows [row, row + count) against one block, at s.p and s.ds; weights of unseen keys are 0.
template <bool kWindow>
inline void weigh_rows(const BackwardView& view, const BackwardScratch& s, const BlockPanels& block, int64_t row,
                       int64_t count, int64_t base) {
  const F32x16 scale = set1(view.args.shape.scale);
  for (int64_t r = 0; r < count; r += kTileRows) {
    const int64_t R = std::min<int64_t>(kTileRows, count - r);
    const int64_t vectors = (std::min(kKeyBlock, (row + r + R - 1) / view.group - base + 1) + 15) / 16;
    float *p = s.p + r * kKeyBlock, *ds = s.ds + r * kKeyBlock;
    multiply<false, false>(R, s.q + r * view.padded, view.padded, block.keys_across, view.head_dim, p, kKeyBlock,
                           vectors);
    if (view.scores_gradient)
      multiply<false, false>(R, s.dout + r * view.padded, view.padded, block.values_across, view.head_dim, ds,
                             kKeyBlock, vectors);
    for (int64_t i = 0; i < R; ++i, p += kKeyBlock, ds += kKeyBlock) {
      const int64_t seen = (row + r + i) / view.group - base + 1;
      const int64_t begin = kWindow ? view.begin(row + r + i, base) : 0;
      const F32x16 lse = set1(view.args.lse[view.flat(row + r + i)]);
      const F32x16 dot = set1(view.args.delta[view.flat(row + r + i)]);
      for (int64_t j = 0; j < kKeyBlock; j += 16) {
        const Mask16 lanes = first_lanes(std::clamp<int64_t>(seen - j, 0, 16));
        const bool any = j < 16 * vectors;
        const auto mask = [&](F32x16 x) {
          if constexpr (kWindow) {
            if (begin > j) x = select(first_lanes(std::min<int64_t>(begin - j, 16)), zero(), x);
          }
          return select(lanes, x, zero());
        };
        const F32x16 e = any ? mask(exp(sub(mul(load(p + j), scale), lse))) : zero();
        store(p + j, e);
        if (!view.scores_gradient) continue;
        store(ds + j, any ? mask(mul(mul(e, sub(load(ds + j), dot)), scale)) : zero());
      }
    }
  }
}

// dq, from the ds that weigh_rows stored in s.ds.
template <bool kWindow>
inline void add_query_gradients(const BackwardView& view, const BackwardScratch& s, Panels<float> keys, int64_t row,
                                int64_t count, int64_t base) {
  for (int64_t r = 0; r < count; r += kTileRows) {
    const int64_t R = std::min<int64_t>(kTileRows, count - r);
    const int64_t seen = std::min(kKeyBlock, (row + r + R - 1) / view.group - base + 1);
    const int64_t begin = kWindow ? std::max<int64_t>(0, view.begin(row + r, base)) : 0;
    multiply<false, true>(R, s.ds + r * kKeyBlock + begin, kKeyBlock,
                          Panels<float>{keys.data + begin * keys.row, keys.row, keys.panel}, seen - begin,
                          s.dq + (row + r - view.task.row_begin) * view.padded, view.padded, view.padded / 16);
  }
}

// out[keys, padded] += weights^T rows, skipping the rows before each key, and those whose window begins after it.
template <bool kWindow>
inline void add_key_gradients(const BackwardView& view, const float* weights, const float* rows, float* out,
                              int64_t row, int64_t count, int64_t base, int64_t keys) {
  for (int64_t j = 0; j < keys; j += kTileRows) {
    const int64_t skip = std::max<int64_t>(0, (base + j) * view.group - row);
    if (skip >= count) return;
    const int64_t R = std::min<int64_t>(kTileRows, keys - j);
    const int64_t end =
        kWindow ? std::min(count, (base + j + R - 1 + view.args.shape.window) * view.group - row) : count;
    if (kWindow && end <= skip) continue;
    multiply<true, true>(R, weights + skip * kKeyBlock + j, kKeyBlock,
                         Panels<float>{rows + skip * view.padded, view.padded, 16}, end - skip, out + j * view.padded,
                         view.padded, view.padded / 16);
  }
}

template <typename T, bool kWindow>
void backward_block(const BackwardView& view, const BackwardScratch& s, int64_t b) {
  const AttentionBackwardArgs& args = view.args;
  const int64_t head_dim = view.head_dim, padded = view.padded, base = b * kKeyBlock;
  const int64_t stride = args.shape.kv_heads * head_dim;
  const int64_t length = args.starts[view.task.sequence + 1] - view.start;
  const int64_t keys = std::min(kKeyBlock, length - base);
  const int64_t first = (view.start + base) * stride + view.task.kv_head * head_dim;
  const T *k = static_cast<const T*>(args.k) + first, *v = static_cast<const T*>(args.v) + first;
  BlockPanels block{};
  block.keys_across =
      pack_transposed(widen_rows(k, stride, keys, head_dim, padded, s.wide), keys, head_dim, s.keys_across);
  if (view.task.queries) block.keys = pack_rows(k, stride, keys, head_dim, s.keys);
  if (view.scores_gradient)
    block.values_across =
        pack_transposed(widen_rows(v, stride, keys, head_dim, padded, s.wide), keys, head_dim, s.values_across);
  const bool wants_dk = view.task.keys && args.dk != nullptr, wants_dv = view.task.keys && args.dv != nullptr;
  std::fill(s.dk, s.dk + kKeyBlock * padded, 0.0f);
  std::fill(s.dv, s.dv + kKeyBlock * padded, 0.0f);

  const int64_t end =
      kWindow ? std::min(view.task.row_end, (base + keys - 1 + args.shape.window) * view.group) : view.task.row_end;
  for (int64_t row = std::max(view.task.row_begin, base * view.group); row < end; row += kBackwardRows) {
    const int64_t count = std::min(kBackwardRows, end - row);
    for (int64_t r = 0; r < count; ++r) {
      const int64_t at = view.flat(row + r) * head_dim, ahead = view.flat(row + r + kRowsAhead) * head_dim;
      prefetch_row(static_cast<const T*>(args.q) + ahead, head_dim);
      prefetch_row(static_cast<const T*>(args.dout) + ahead, head_dim);
      widen_row(static_cast<const T*>(args.q) + at, head_dim, s.q + r * padded);
      widen_row(static_cast<const T*>(args.dout) + at, head_dim, s.dout + r * padded);
    }
    weigh_rows<kWindow>(view, s, block, row, count, base);
    if (view.task.queries) add_query_gradients<kWindow>(view, s, block.keys, row, count, base);
    if (wants_dk) add_key_gradients<kWindow>(view, s.ds, s.q, s.dk, row, count, base, keys);
    if (wants_dv) add_key_gradients<kWindow>(view, s.p, s.dout, s.dv, row, count, base, keys);
  }
  for (int64_t j = 0; j < keys; ++j) {
    if (wants_dk) narrow_row(s.dk + j * padded, 1.0f, head_dim, static_cast<T*>(args.dk) + first + j * stride);
    if (wants_dv) narrow_row(s.dv + j * padded, 1.0f, head_dim, static_cast<T*>(args.dv) + first + j * stride);
  }
}

template <typename T>
void backward_task(const AttentionBackwardArgs& args, const AttentionTask& task) {
  const int64_t padded = (args.shape.head_dim + 15) / 16 * 16;
  const BackwardView view{args,
                          task,
                          args.shape.head_dim,
                          padded,
                          args.shape.heads / args.shape.kv_heads,
                          args.starts[task.sequence],
                          task.queries || args.dk != nullptr};
  const int64_t rows = task.queries ? task.row_end - task.row_begin : 0;
  const BackwardScratch s = backward_scratch(rows, padded);
  std::fill(s.dq, s.dq + rows * padded, 0.0f);
  const bool windowed = args.shape.first_key(args.starts[task.sequence + 1] - view.start - 1) > 0;
  for (int64_t b = task.block_begin; b < task.block_end; ++b) {
    if (windowed)
      backward_block<T, true>(view, s, b);
    else
      backward_block<T, false>(view, s, b);
  }
  for (int64_t r = 0; r < rows; ++r)
    narrow_row(s.dq + r * padded, 1.0f, view.head_dim,
               static_cast<T*>(args.dq) + view.flat(task.row_begin + r) * view.head_dim);
}

void attention_backward(const AttentionBackwardArgs& args, const AttentionTask& task) {
  if (args.dtype == DType::bf16)
    backward_task<bf16>(args, task);
  else
    backward_task<float>(args, task);
}

// delta[t, h] = dO[t, h] . o[t, h] for flat offsets [begin, end) of [T, heads].
template <typename T>
void output_delta(const AttentionBackwardArgs& args, int64_t begin, int64_t end) {
  const int64_t n = args.shape.head_dim, whole = n / 16 * 16;
  for (int64_t at = begin; at < end; ++at) {
    const T *dout = static_cast<const T*>(args.dout) + at * n, *o = static_cast<const T*>(args.o) + at * n;
    F32x16 sum = zero();
    for (int64_t i = 0; i < whole; i += 16) sum = fma(load(dout + i), load(o + i), sum);
    if (whole < n) {
      const Mask16 rest = first_lanes(n - whole);
      sum = fma(load_masked(dout + whole, rest), load_masked(o + whole, rest), sum);
    }
    args.delta[at] = reduce_add(sum);
  }
}

void attention_delta(const AttentionBackwardArgs& args, int64_t begin, int64_t end) {
  if (args.dtype == DType::bf16)
    output_delta<bf16>(args, begin, end);
  else
    output_delta<float>(args, begin, end);
}
