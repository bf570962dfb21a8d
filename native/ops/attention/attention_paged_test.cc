#include "base/integers.h"
#include "ops/attention/attention_cpu.h"
#include "tests/test_support.h"

using namespace rubricate;
using namespace rubricate::testing;

namespace {

// A cache for sequences of given lengths. Its pages are in no order, and filled with NaN before anything is stored.
struct Cache {
  Cache(const AttentionShape& shape, DType dtype, const std::vector<int64_t>& lengths)
      : bytes(2 * shape.kv_heads * kKeyBlock * shape.head_dim * dtype_size(dtype)), past(lengths.size(), 0) {
    int64_t pages = 0;
    for (const int64_t length : lengths) per_sequence = std::max(per_sequence, ceil_div(length, kKeyBlock));
    for (size_t s = 0; s < lengths.size(); ++s)
      for (int64_t b = 0; b < per_sequence; ++b)
        table.push_back(b * kKeyBlock < lengths[s] ? static_cast<int32_t>(pages++) : -1);
    const std::vector<char> nothing(static_cast<size_t>(pages * bytes), '\xff');
    memory = Tensor::from_host(device_arena(), {pages * bytes / 4}, DType::i32, nothing.data());
    for (int32_t& page : table)
      if (page >= 0) page = static_cast<int32_t>(pages - 1 - page);
    keys.dtype = dtype;
    for (int64_t page = 0; page < pages; ++page) addresses.push_back(static_cast<char*>(memory.raw()) + page * bytes);
    keys.pages = addresses.data();
    keys.page_count = pages;
    keys.page_table = table.data();
    keys.pages_per_sequence = per_sequence;
    keys.past = past.data();
  }
  int64_t bytes, per_sequence = 0;
  std::vector<int32_t> table, past;
  std::vector<void*> addresses;
  Tensor memory;
  PagedKeys keys;
};

struct Case {
  int64_t heads, kv_heads, head_dim;
  std::vector<int64_t> lengths;
  int64_t window = 0;
};
const Case kCases[] = {
    {2, 2, 16, {130}},
    {4, 2, 20, {65, 1, 200}},
    {6, 1, 64, {70, 129}},
    {12, 3, 8, {64, 63, 128, 5}},
    {1, 1, 80, {300}},
    {2, 1, 16, {130}, 8},
    {4, 2, 20, {65, 1, 200}, 64},
    {6, 1, 64, {70, 129}, 67},
    {12, 3, 8, {64, 63, 128, 5}, 1},
};

// All rows of all sequences by attention(): the expected values.
struct Whole {
  Whole(const std::shared_ptr<Arena>& arena, const Case& c, const AttentionShape& shape, DType dtype) {
    for (const int64_t length : c.lengths) starts.push_back(starts.back() + static_cast<int32_t>(length));
    const int64_t rows = starts.back();
    q = random_tensor(arena, {rows, c.heads * c.head_dim}, dtype, 11, -2, 2);
    k = random_tensor(arena, {rows, c.kv_heads * c.head_dim}, dtype, 12, -2, 2);
    v = random_tensor(arena, {rows, c.kv_heads * c.head_dim}, dtype, 13, -2, 2);
    Tape tape(device_arena(), Tape::Mode::inference);
    o = attention(tape, placed(q), placed(k), placed(v), shape, static_cast<int64_t>(c.lengths.size()), starts.data())
            .value();
    o = fetched(o);
  }
  std::vector<int32_t> starts{0};
  Tensor q, k, v, o;
};

// Rows [from[s], to[s]) of every sequence, one after the other.
Tensor gather(const std::shared_ptr<Arena>& arena, const Tensor& x, const std::vector<int32_t>& starts,
              const std::vector<int32_t>& from, const std::vector<int32_t>& to) {
  int64_t rows = 0;
  for (size_t s = 0; s < from.size(); ++s) rows += to[s] - from[s];
  Tensor out = Tensor::empty(arena, {rows, x.cols()}, x.dtype());
  const int64_t bytes = x.cols() * dtype_size(x.dtype());
  char* at = static_cast<char*>(out.raw());
  for (size_t s = 0; s < from.size(); ++s) {
    const int64_t count = (to[s] - from[s]) * bytes;
    std::memcpy(at, static_cast<const char*>(x.raw()) + (starts[s] + from[s]) * bytes, static_cast<size_t>(count));
    at += count;
  }
  return out;
}

// Feeds each sequence in chunks of its own size until all are done; every chunk must match bit for bit.
void check_chunks(const std::shared_ptr<Arena>& arena, const Case& c, const AttentionShape& shape, const Whole& whole,
                  const std::vector<int64_t>& chunks) {
  Cache cache(shape, whole.q.dtype(), c.lengths);
  const size_t sequences = c.lengths.size();
  for (;;) {
    Tape tape(device_arena(), Tape::Mode::inference);
    std::vector<int32_t> to(sequences), starts{0};
    for (size_t s = 0; s < sequences; ++s) {
      to[s] = static_cast<int32_t>(std::min<int64_t>(c.lengths[s], cache.past[s] + chunks[s % chunks.size()]));
      starts.push_back(starts.back() + to[s] - cache.past[s]);
    }
    if (starts.back() == 0) return;
    const auto piece = [&](const Tensor& x) { return gather(arena, x, whole.starts, cache.past, to); };
    store_keys(tape, placed(piece(whole.k)), placed(piece(whole.v)), shape, static_cast<int64_t>(sequences),
               starts.data(), cache.keys);
    const Tensor o = attention_paged(tape, placed(piece(whole.q)), shape, static_cast<int64_t>(sequences),
                                     starts.data(), cache.keys);
    REQUIRE(same_bits(o, piece(whole.o)));
    cache.past = to;
    cache.keys.past = cache.past.data();
  }
}

}  // namespace

TEST_CASE("attention over pages has the bits of attention over rows, for whole sequences, chunks and batches") {
  const auto arena = test_arena();
  for (const Case& c : kCases) {
    const AttentionShape shape{c.heads, c.kv_heads, c.head_dim, 0.3f, c.window};
    for (const DType dtype : {DType::f32, DType::bf16}) {
      on_every_device([&] {
        CAPTURE(c.heads);
        CAPTURE(c.head_dim);
        CAPTURE(c.window);
        const Whole whole(arena, c, shape, dtype);
        for (const int64_t chunk : {1, 7, 64, 100000}) {
          // A device would need hundreds of launches.
          if (present_device() && whole.starts.back() > (chunk == 1 ? 130 : chunk == 7 ? 200 : 100000)) continue;
          CAPTURE(chunk);
          check_chunks(arena, c, shape, whole, {chunk});
        }
        if (c.lengths.size() > 1) check_chunks(arena, c, shape, whole, {1, 64, 7});
      });
    }
  }
}

TEST_CASE("store_keys stores keys transposed by 16 and values unchanged, in the page of their position") {
  const auto arena = test_arena();
  const AttentionShape shape{2, 2, 3, 1.0f};
  Cache cache(shape, DType::f32, {70});
  const Tensor k = random_tensor(arena, {70, 6}, DType::f32, 1), v = random_tensor(arena, {70, 6}, DType::f32, 2);
  const int32_t starts[] = {0, 70};
  Tape tape(arena, Tape::Mode::inference);
  store_keys(tape, k, v, shape, 1, starts, cache.keys);
  for (int64_t t = 0; t < 70; ++t) {
    const float* page = static_cast<const float*>(cache.keys.pages[static_cast<size_t>(cache.table[t / 64])]);
    for (int64_t h = 0; h < 2; ++h) {
      for (int64_t d = 0; d < 3; ++d) {
        CHECK(page[((h * 4 + t % 64 / 16) * 3 + d) * 16 + t % 16] == k.data<float>()[t * 6 + h * 3 + d]);
        CHECK(page[2 * 3 * 64 + (h * 64 + t % 64) * 3 + d] == v.data<float>()[t * 6 + h * 3 + d]);
      }
    }
  }
}

TEST_CASE("attention over pages refuses wrong shapes, dtypes and page tables") {
  const auto arena = test_arena();
  const AttentionShape shape{4, 2, 8, 0.5f};
  Cache cache(shape, DType::f32, {100});
  const int32_t starts[] = {0, 3};
  const Tensor q = Tensor::zeros(arena, {3, 32}, DType::f32), k = Tensor::zeros(arena, {3, 16}, DType::f32);
  const Tensor narrow = Tensor::zeros(arena, {3, 16}, DType::bf16), wide = Tensor::zeros(arena, {3, 32}, DType::bf16);
  const auto store = [&](const Tensor& keys, const Tensor& values) {
    Tape tape(arena, Tape::Mode::inference);
    return error_code([&] { store_keys(tape, keys, values, shape, 1, starts, cache.keys); });
  };
  const auto read = [&](const Tensor& queries) {
    Tape tape(arena, Tape::Mode::inference);
    return error_code([&] { attention_paged(tape, queries, shape, 1, starts, cache.keys); });
  };
  CHECK(store(k, k) == "");
  CHECK(read(q) == "");
  CHECK(store(q, k) == "ERR_SHAPE");
  CHECK(store(k, q) == "ERR_SHAPE");
  CHECK(store(narrow, narrow) == "ERR_DTYPE");
  CHECK(store(k, narrow) == "ERR_DTYPE");
  CHECK(read(k) == "ERR_SHAPE");
  CHECK(read(wide) == "ERR_DTYPE");
  cache.past[0] = 125;
  CHECK(read(q) == "");
  cache.past[0] = 126;  // 129 positions, two pages
  CHECK(store(k, k) == "ERR_SHAPE");
  CHECK(read(q) == "ERR_SHAPE");
  cache.past[0] = -1;
  CHECK(read(q) == "ERR_SHAPE");
  cache.past[0] = 64;
  cache.table[1] = 2;
  CHECK(read(q) == "ERR_SHAPE");
  cache.table[1] = -1;
  CHECK(store(k, k) == "ERR_SHAPE");
}
