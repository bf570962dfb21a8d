// Online softmax over key blocks in order. For a row with running maximum m, denominator l and sum o, a block with
// scores s gives
//   m' = max(m, max s);  a = exp(m - m');  p = exp(s - m');  l' = a l + sum p;  o' = a o + p v
// Masked keys are skipped: their s and p enter no sum. kWindow: the code for tasks whose window excludes keys.

struct ForwardScratch {
  float *q, *o;          // [rows, padded]
  float *max, *sum;      // [rows]
  float *keys, *values;  // [head_dim, kKeyBlock], [kKeyBlock, padded]
  float* raw_keys;       // [kKeyBlock, padded]
  float* p;              // [kTileRows, kKeyBlock]
};

inline ForwardScratch forward_scratch(int64_t rows, int64_t padded) {
  const int64_t aligned_rows = (rows + 15) / 16 * 16;
  float* at = scratch(2 * rows * padded + 2 * aligned_rows + 3 * padded * kKeyBlock + kTileRows * kKeyBlock);
  const auto take = [&](int64_t count) { return std::exchange(at, at + count); };
  ForwardScratch s;
  s.q = take(rows * padded);
  s.o = take(rows * padded);
  s.max = take(aligned_rows);
  s.sum = take(aligned_rows);
  s.keys = take(padded * kKeyBlock);
  s.values = take(padded * kKeyBlock);
  s.raw_keys = take(padded * kKeyBlock);
  s.p = take(kTileRows * kKeyBlock);
  return s;
}

template <typename T>
struct KeyBlock {
  Panels<T> keys;    // [head_dim, kKeyBlock]
  Panels<T> values;  // [kKeyBlock, padded]
};

// With fewer rows than this, packing a key costs more than it saves.
constexpr int64_t kPackRows = 3;

// Block b of a sequence in its page, unpacked.
template <typename T>
KeyBlock<T> page_block(const AttentionForwardArgs& args, const AttentionTask& task, int64_t b) {
  const int64_t head_dim = args.shape.head_dim;
  const int32_t page = args.source.page_table[task.sequence * args.source.pages_per_sequence + b];
  const char* layer = static_cast<const char*>(args.source.pages[page]) + args.source.page_offset;
  const T* keys = reinterpret_cast<const T*>(layer) + task.kv_head * head_dim * kKeyBlock;
  return {{keys, 16, 16 * head_dim}, {keys + args.shape.kv_heads * head_dim * kKeyBlock, head_dim, 16}};
}

// The first `count` keys and values of block b of a sequence, packed as fp32.
template <typename T>
KeyBlock<float> load_block(const AttentionForwardArgs& args, const AttentionTask& task, int64_t b, int64_t count,
                           int64_t padded, const ForwardScratch& s) {
  const int64_t head_dim = args.shape.head_dim;
  if (args.source.pages != nullptr) {
    const KeyBlock<T> block = page_block<T>(args, task, b);
    const Panels<float> values = pack_rows(block.values.data, head_dim, count, head_dim, s.values);
    if constexpr (std::is_same_v<T, float>) return {block.keys, values};
    widen_row(block.keys.data, head_dim * kKeyBlock, s.keys);
    return {{s.keys, 16, 16 * head_dim}, values};
  }
  const int64_t stride = args.shape.kv_heads * head_dim;
  const int64_t first = (args.starts[task.sequence] + b * kKeyBlock) * stride + task.kv_head * head_dim;
  const Rows keys =
      widen_rows(static_cast<const T*>(args.source.k) + first, stride, count, head_dim, padded, s.raw_keys);
  return {pack_transposed(keys, count, head_dim, s.keys),
          pack_rows(static_cast<const T*>(args.source.v) + first, stride, count, head_dim, s.values)};
}

// The keys of a block that a row sees: [begin, end), at least one.
struct SeenKeys {
  int64_t begin, end;
};

// Scales the scores [kKeyBlock] of one row; those of keys that it does not see become -inf. Returns their maximum.
template <bool kWindow>
inline float scale_scores(float* p, SeenKeys seen, float scale) {
  const F32x16 factor = set1(scale), nothing = set1(-std::numeric_limits<float>::infinity());
  F32x16 lane_max = nothing;
  for (int64_t j = 0; j < (seen.end + 15) / 16; ++j) {
    F32x16 s = mul(load(p + 16 * j), factor);
    if (seen.end < 16 * j + 16) s = select(first_lanes(seen.end - 16 * j), s, nothing);
    if constexpr (kWindow) {
      if (seen.begin > 16 * j) s = select(first_lanes(std::min<int64_t>(seen.begin - 16 * j, 16)), nothing, s);
    }
    store(p + 16 * j, s);
    lane_max = max(lane_max, s);
  }
  return reduce_max(lane_max);
}

// Turns the scaled scores of one row into exp(score - shift) and returns their sum.
inline float exp_scores(float* p, int64_t vectors, float shift) {
  const F32x16 shifts = set1(shift);
  F32x16 sum = zero();
  for (int64_t j = 0; j < vectors; ++j) {
    const F32x16 e = exp(sub(load(p + 16 * j), shifts));
    store(p + 16 * j, e);
    sum = add(sum, e);
  }
  return reduce_add(sum);
}

// The softmax weights of rows r .. r + R at s.p, and what they change in the rows' maxima, sums and outputs. One pass
// over all rows for each step, without branches on values, so that the rows' chains of additions overlap.
template <bool kWindow>
inline void softmax_rows(const ForwardScratch& s, int64_t r, int64_t R, const SeenKeys* seen, float scale,
                         int64_t padded) {
  constexpr float nothing = -std::numeric_limits<float>::infinity();
  alignas(64) float change[16] = {}, shift[kTileRows];
  for (int64_t i = 0; i < R; ++i) shift[i] = scale_scores<kWindow>(s.p + i * kKeyBlock, seen[i], scale);
  for (int64_t i = 0; i < R; ++i) {
    const float old_max = s.max[r + i], new_max = shift[i] > old_max ? shift[i] : old_max;
    change[i] = new_max == old_max ? 0.0f : old_max - new_max;
    // If every score so far is -inf the weights are 0, not exp(-inf + inf).
    shift[i] = new_max == nothing ? 0.0f : new_max;
    s.max[r + i] = new_max;
  }
  store(change, exp(load(change)));
  for (int64_t i = 0; i < R; ++i) {
    const float total = exp_scores(s.p + i * kKeyBlock, (seen[i].end + 15) / 16, shift[i]);
    s.sum[r + i] = s.sum[r + i] * change[i] + total;
  }
  for (int64_t i = 0; i < R; ++i) {
    const F32x16 factor = set1(change[i]);
    float* o = s.o + (r + i) * padded;
    for (int64_t d = 0; d < padded; d += 16) store(o + d, mul(load(o + d), factor));
  }
}

// Rows r .. r + R of a tile against one block. seen[i]: the keys of row r + i; both bounds ascend.
template <bool kWindow, typename T>
inline void forward_rows(const AttentionForwardArgs& args, const ForwardScratch& s, const KeyBlock<T>& block, int64_t r,
                         int64_t R, const SeenKeys* seen, int64_t padded) {
  float* o = s.o + r * padded;
  multiply<false, false>(R, s.q + r * padded, padded, block.keys, args.shape.head_dim, s.p, kKeyBlock,
                         (seen[R - 1].end + 15) / 16);
  softmax_rows<kWindow>(s, r, R, seen, args.shape.scale, padded);
  // Values of keys [begin, end) to rows i .. i + rows. A row's keys ascend: first those that later rows do not see, then
  // those that all rows see, then those that earlier rows do not see.
  const auto add_values = [&](int64_t i, int64_t rows, int64_t begin, int64_t end) {
    if (begin >= end) return;
    Panels<T> values = block.values;
    values.data += begin * values.row;
    multiply<false, true>(rows, s.p + i * kKeyBlock + begin, kKeyBlock, values, end - begin, o + i * padded, padded,
                          padded / 16);
  };
  const int64_t begin = kWindow ? std::min(seen[R - 1].begin, seen[0].end) : 0, end = seen[0].end;
  if constexpr (kWindow) {
    for (int64_t i = 0; i < R; ++i) add_values(i, 1, seen[i].begin, begin);
  }
  add_values(0, R, begin, end);
  for (int64_t i = 1; i < R; ++i) add_values(i, 1, kWindow ? std::max(seen[i].begin, end) : end, seen[i].end);
}

template <typename T, bool kWindow>
void forward_task(const AttentionForwardArgs& args, const AttentionTask& task) {
  const int64_t heads = args.shape.heads, head_dim = args.shape.head_dim, group = heads / args.shape.kv_heads;
  const int64_t padded = (head_dim + 15) / 16 * 16, rows = task.row_end - task.row_begin;
  const int64_t past = args.source.past != nullptr ? args.source.past[task.sequence] : 0;
  const int64_t last = past + (task.row_end - 1) / group;
  const ForwardScratch s = forward_scratch(rows, padded);
  const auto flat = [&](int64_t r) {  // offset in [T, heads]
    const int64_t row = task.row_begin + r;
    return (args.starts[task.sequence] + row / group) * heads + task.kv_head * group + row % group;
  };

  for (int64_t r = 0; r < rows; ++r) {
    prefetch_row(static_cast<const T*>(args.q) + flat(r + kRowsAhead) * head_dim, head_dim);
    widen_row(static_cast<const T*>(args.q) + flat(r) * head_dim, head_dim, s.q + r * padded);
    s.max[r] = -std::numeric_limits<float>::infinity();
    s.sum[r] = 0.0f;
  }
  std::fill(s.o, s.o + rows * padded, 0.0f);

  const bool in_place = args.source.pages != nullptr && rows < kPackRows && head_dim == padded;
  const int64_t first_block = kWindow ? args.shape.first_key(past + task.row_begin / group) / kKeyBlock : 0;
  for (int64_t b = first_block; b <= last / kKeyBlock; ++b) {
    const int64_t base = b * kKeyBlock;
    // The rows that see a key of the block are consecutive.
    const int64_t first_row = std::max<int64_t>(0, (base - past) * group - task.row_begin);
    const int64_t end_row =
        kWindow ? std::min(rows, (base + kKeyBlock - 1 + args.shape.window - past) * group - task.row_begin) : rows;
    const auto visit = [&](const auto& block) {
      for (int64_t r = first_row; r < end_row; r += kTileRows) {
        const int64_t R = std::min<int64_t>(kTileRows, end_row - r);
        SeenKeys seen[kTileRows];
        for (int64_t i = 0; i < R; ++i) {
          const int64_t position = past + (task.row_begin + r + i) / group;
          seen[i].begin = kWindow ? std::max<int64_t>(0, args.shape.first_key(position) - base) : 0;
          seen[i].end = std::min(kKeyBlock, position - base + 1);
        }
        forward_rows<kWindow>(args, s, block, r, R, seen, padded);
      }
    };
    if (in_place)
      visit(page_block<T>(args, task, b));
    else
      visit(load_block<T>(args, task, b, std::min(kKeyBlock, last + 1 - base), padded, s));
  }

  for (int64_t r = 0; r < rows; ++r) {
    narrow_row(s.o + r * padded, s.sum[r], head_dim, static_cast<T*>(args.o) + flat(r) * head_dim);
    if (args.lse != nullptr) args.lse[flat(r)] = s.max[r] + std::log(s.sum[r]);
  }
}

template <typename T>
void forward_typed(const AttentionForwardArgs& args, const AttentionTask& task) {
  const int64_t past = args.source.past != nullptr ? args.source.past[task.sequence] : 0;
  const int64_t last = past + (task.row_end - 1) / (args.shape.heads / args.shape.kv_heads);
  if (args.shape.first_key(last) > 0)
    forward_task<T, true>(args, task);
  else
    forward_task<T, false>(args, task);
}

void attention_forward(const AttentionForwardArgs& args, const AttentionTask& task) {
  if (args.dtype == DType::bf16)
    forward_typed<bf16>(args, task);
  else
    forward_typed<float>(args, task);
}
