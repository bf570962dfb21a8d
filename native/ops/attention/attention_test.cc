#include "ops/attention/attention.h"

#include "tests/attention_reference.h"

using namespace rubricate;
using namespace rubricate::testing;

namespace {

struct Case {
  int64_t heads, kv_heads, head_dim;
  std::vector<int32_t> starts;
  int64_t window = 0;
  int64_t rows() const { return starts.back(); }
  AttentionShape shape() const {
    return {heads, kv_heads, head_dim, 1.0f / std::sqrt(static_cast<float>(head_dim)), window};
  }
};

// Full and partial key blocks, sequences that cross them, tiles with any number of rows, groups, all kinds of head_dim;
// windows shorter than a tile of rows, than a block, longer than one, and longer than a sequence.
const Case kCases[] = {
    {1, 1, 1, {0, 1}},           {2, 1, 4, {0, 3, 3, 8}},     {4, 2, 8, {0, 65}},       {3, 3, 20, {0, 64, 65, 128}},
    {2, 2, 16, {0, 130}},        {6, 2, 64, {0, 100, 137}},   {4, 1, 80, {0, 70}},      {1, 1, 256, {0, 33}},
    {14, 1, 33, {0, 0, 75, 75}}, {7, 7, 12, {0, 20, 110}},    {1, 1, 32, {0, 259}},     {2, 1, 16, {0, 70}, 3},
    {4, 2, 8, {0, 3, 140}, 2},   {1, 1, 20, {0, 135}, 8},     {6, 2, 64, {0, 137}, 63}, {3, 3, 32, {0, 200}, 64},
    {4, 1, 33, {0, 9, 150}, 65}, {2, 2, 12, {0, 259}, 100},   {2, 1, 16, {0, 90}, 90},  {2, 1, 80, {0, 67, 134}, 128},
    {2, 1, 48, {0, 200}},        {3, 1, 40, {0, 9, 150}, 65},
};

struct Inputs {
  Tensor q, k, v, dout;
};

Inputs random_inputs(const std::shared_ptr<Arena>& arena, const Case& c, DType dtype, double size = 2.0) {
  const Shape queries{c.rows(), c.heads * c.head_dim}, keys{c.rows(), c.kv_heads * c.head_dim};
  return {random_tensor(arena, queries, dtype, 1, -size, size), random_tensor(arena, keys, dtype, 2, -size, size),
          random_tensor(arena, keys, dtype, 3, -size, size), random_tensor(arena, queries, dtype, 4)};
}

struct Outputs {
  Tensor o, dq, dk, dv;
};

Outputs run(const Case& c, const Inputs& in, bool q_grad = true, bool k_grad = true, bool v_grad = true) {
  Tape tape(device_arena(), Tape::Mode::training);
  const auto var = [](const Tensor& x, bool grad) { return grad ? leaf(placed(x)) : Var(placed(x)); };
  const Var q = var(in.q, q_grad), k = var(in.k, k_grad), v = var(in.v, v_grad);
  const Var o = attention(tape, q, k, v, c.shape(), static_cast<int64_t>(c.starts.size()) - 1, c.starts.data());
  if (o.requires_grad()) tape.backward(o, placed(in.dout));
  return {o.value(), q.grad(), k.grad(), v.grad()};
}

bool same_bits(const Outputs& a, const Outputs& b) {
  return testing::same_bits(a.o, b.o) && testing::same_bits(a.dq, b.dq) && testing::same_bits(a.dk, b.dk) &&
         testing::same_bits(a.dv, b.dv);
}

// Rows [begin, end) of every tensor.
Inputs rows_of(const std::shared_ptr<Arena>& arena, const Inputs& in, int64_t begin, int64_t end) {
  return {copy_rows(arena, in.q, begin, end), copy_rows(arena, in.k, begin, end), copy_rows(arena, in.v, begin, end),
          copy_rows(arena, in.dout, begin, end)};
}
Outputs rows_of(const std::shared_ptr<Arena>& arena, const Outputs& out, int64_t begin, int64_t end) {
  return {copy_rows(arena, out.o, begin, end), copy_rows(arena, out.dq, begin, end),
          copy_rows(arena, out.dk, begin, end), copy_rows(arena, out.dv, begin, end)};
}

void fill_rows(Tensor& x, int64_t begin, int64_t end, int byte) {
  const int64_t bytes = x.cols() * dtype_size(x.dtype());
  std::memset(static_cast<char*>(x.raw()) + begin * bytes, byte, static_cast<size_t>((end - begin) * bytes));
}

}  // namespace

TEST_CASE("attention's reference gradients agree with central differences") {
  for (const int64_t window : {0, 3}) {
    const Case c{4, 2, 3, {0, 2, 7}, window};
    const auto arena = test_arena();
    const Inputs in = random_inputs(arena, c, DType::f32, 1.0);
    const Doubles q = to_doubles(in.q), k = to_doubles(in.k), v = to_doubles(in.v), dout = to_doubles(in.dout);
    const auto exact = [](double x) { return x; };
    const auto loss = [&](const Doubles& q, const Doubles& k, const Doubles& v) {
      const Doubles o = reference_attention<double>(c.shape(), c.starts, q, k, v, dout, exact).o;
      double sum = 0;
      for (size_t i = 0; i < o.size(); ++i) sum += o[i] * dout[i];
      return sum;
    };
    const AttentionValues values = reference_attention<double>(c.shape(), c.starts, q, k, v, dout, exact);
    check_close(values.dq, numeric_gradient([&](const Doubles& x) { return loss(x, k, v); }, q), 1e-7, 1e-8);
    check_close(values.dk, numeric_gradient([&](const Doubles& x) { return loss(q, x, v); }, k), 1e-7, 1e-8);
    check_close(values.dv, numeric_gradient([&](const Doubles& x) { return loss(q, k, x); }, v), 1e-7, 1e-8);
  }
}

TEST_CASE("a window of all positions has the bits of no window, and one of 1 gives each row its own value") {
  const auto arena = test_arena();
  const Case without{4, 2, 16, {0, 70, 200}};
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Inputs in = random_inputs(arena, without, dtype);
    on_every_device([&] {
      Case with = without;
      with.window = 130;
      CHECK(same_bits(run(with, in), run(without, in)));
      const Case own{2, 2, 16, {0, 70, 200}, 1};
      const Inputs equal = random_inputs(arena, own, dtype);
      CHECK(testing::same_bits(run(own, equal).o, equal.v));
    });
  }
}

TEST_CASE("attention and its gradients keep the precision rule; a pool of any size gives the same bits") {
  const auto arena = test_arena();
  for (const Case& c : kCases) {
    CAPTURE(c.heads);
    CAPTURE(c.head_dim);
    CAPTURE(c.rows());
    for (const DType dtype : {DType::f32, DType::bf16}) {
      CAPTURE(dtype_name(dtype));
      const Inputs in = random_inputs(arena, c, dtype);
      const Doubles q = to_doubles(in.q), k = to_doubles(in.k), v = to_doubles(in.v), dout = to_doubles(in.dout);
      const AttentionValues expected =
          reference_attention<double>(c.shape(), c.starts, q, k, v, dout, [](double x) { return x; });
      const AttentionValues naive = reference_attention<float>(c.shape(), c.starts, q, k, v, dout, [&](float x) {
        return dtype == DType::bf16 ? to_float(from_float<bf16>(x)) : x;
      });
      Outputs first;
      on_every_device([&] {
        const Outputs got = run(c, in);
        if (ThreadPool::instance().size() == 1) first = got;
        if (!present_device()) CHECK(same_bits(first, got));
        check_precision(got.o, expected.o, naive.o);
        check_precision(got.dq, expected.dq, naive.dq);
        check_precision(got.dk, expected.dk, naive.dk);
        check_precision(got.dv, expected.dv, naive.dv);
      });
    }
  }
}

TEST_CASE("only the requested gradients are computed, with the same bits") {
  const auto arena = test_arena();
  const Case c{4, 2, 20, {0, 70, 90}};
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Inputs in = random_inputs(arena, c, dtype);
    on_every_device([&] {
      const Outputs all = run(c, in);
      for (int wanted = 0; wanted < 8; ++wanted) {
        const bool q = (wanted & 1) != 0, k = (wanted & 2) != 0, v = (wanted & 4) != 0;
        const Outputs some = run(c, in, q, k, v);
        CAPTURE(wanted);
        CHECK(testing::same_bits(some.o, all.o));
        CHECK(some.dq.defined() == q);
        CHECK(some.dk.defined() == k);
        CHECK(some.dv.defined() == v);
        if (q) CHECK(testing::same_bits(some.dq, all.dq));
        if (k) CHECK(testing::same_bits(some.dk, all.dk));
        if (v) CHECK(testing::same_bits(some.dv, all.dv));
      }
    });
  }
}

namespace {

void check_packed(const Case& packed) {
  const auto arena = test_arena();
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Inputs in = random_inputs(arena, packed, dtype);
    on_every_device([&] {
      const Outputs whole = run(packed, in);
      for (size_t s = 0; s + 1 < packed.starts.size(); ++s) {
        const int32_t begin = packed.starts[s], end = packed.starts[s + 1];
        const Case alone{6, 3, 24, {0, end - begin}, packed.window};
        CHECK(same_bits(run(alone, rows_of(arena, in, begin, end)), rows_of(arena, whole, begin, end)));
      }
      Inputs spoilt = rows_of(arena, in, 0, 201);
      for (Tensor* x : {&spoilt.q, &spoilt.k, &spoilt.v, &spoilt.dout}) {
        fill_rows(*x, 0, 67, 0xff);  // NaN
        fill_rows(*x, 68, 201, 0x41);
      }
      CHECK(same_bits(rows_of(arena, run(packed, spoilt), 67, 68), rows_of(arena, whole, 67, 68)));
    });
  }
}

}  // namespace

TEST_CASE("a sequence has the same bits alone and packed, for any values of the other sequences") {
  check_packed({6, 3, 24, {0, 67, 68, 68, 201}});
  check_packed({6, 3, 24, {0, 67, 68, 68, 201}, 11});
}

TEST_CASE("attention: on a device, the same bits in every order of threads and blocks") {
  const auto arena = test_arena();
  for (const int64_t window : {0, 9}) {
    const Case c{2, 1, 16, {0, 66, 70}, window};
    for (const DType dtype : {DType::f32, DType::bf16}) {
      const Inputs in = random_inputs(arena, c, dtype);
      on_every_order([&] {
        const Outputs got = run(c, in);
        return std::vector<Tensor>{got.o, got.dq, got.dk, got.dv};
      });
    }
  }
}

TEST_CASE("a row does not see later rows, not even NaN in them") {
  const auto arena = test_arena();
  const Case c{2, 1, 16, {0, 140}};
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Inputs in = random_inputs(arena, c, dtype);
    on_every_device([&] {
      const Tensor o = run(c, in).o;
      for (const int64_t rows : {1, 2, 5, 63, 64, 65, 139}) {
        Inputs spoilt = rows_of(arena, in, 0, 140);
        for (Tensor* x : {&spoilt.q, &spoilt.k, &spoilt.v}) fill_rows(*x, rows, 140, 0xff);
        CHECK(testing::same_bits(copy_rows(arena, run(c, spoilt).o, 0, rows), copy_rows(arena, o, 0, rows)));
      }
    });
  }
}

TEST_CASE("a row does not see rows before its window, not even NaN in them") {
  const auto arena = test_arena();
  for (const int64_t window : {3, 64, 70}) {
    const Case c{2, 1, 16, {0, 200}, window};
    for (const DType dtype : {DType::f32, DType::bf16}) {
      const Inputs in = random_inputs(arena, c, dtype);
      on_every_device([&] {
        const Tensor o = run(c, in).o;
        for (const int64_t rows : {1, 5, 64, 65, 129}) {
          Inputs spoilt = rows_of(arena, in, 0, 200);
          for (Tensor* x : {&spoilt.q, &spoilt.k, &spoilt.v}) fill_rows(*x, 0, rows, 0xff);
          const Tensor got = run(c, spoilt).o;
          const int64_t first = rows + window - 1;  // that sees none of them
          CHECK(testing::same_bits(copy_rows(arena, got, first, 200), copy_rows(arena, o, first, 200)));
          CHECK(!testing::same_bits(copy_rows(arena, got, first - 1, first), copy_rows(arena, o, first - 1, first)));
        }
      });
    }
  }
}

TEST_CASE("scores of any size give finite weights, and one key's weight can be exactly 1") {
  const auto arena = test_arena();
  const Case c{2, 2, 4, {0, 150}};
  Inputs in = random_inputs(arena, c, DType::f32, 3e3);
  in.v = random_tensor(arena, {150, 8}, DType::f32, 9);
  on_every_device([&] {
    const Outputs got = run(c, in);
    for (const Tensor* x : {&got.o, &got.dq, &got.dk, &got.dv})
      for (const double value : to_doubles(*x)) REQUIRE(std::isfinite(value));
    CHECK(testing::same_bits(copy_rows(arena, got.o, 0, 1), copy_rows(arena, in.v, 0, 1)));  // one key
  });
}

TEST_CASE("attention refuses wrong heads, shapes, dtypes, starts and values of another tape") {
  const auto arena = test_arena();
  Tape tape(arena, Tape::Mode::training), other(arena, Tape::Mode::training);
  const auto make = [&](int64_t rows, int64_t cols, DType dtype = DType::f32) {
    return Tensor::zeros(arena, {rows, cols}, dtype);
  };
  const int32_t fine[] = {0, 2, 5}, late[] = {1, 2, 5}, brief[] = {0, 2, 4}, falling[] = {0, 6, 5};
  const auto code = [&](const Var& q, const Var& k, const Var& v, AttentionShape shape, const int32_t* starts) {
    return error_code([&] { attention(tape, q, k, v, shape, 2, starts); });
  };
  const AttentionShape shape{4, 2, 8, 0.5f};
  const Tensor q = make(5, 32), k = make(5, 16);
  CHECK(code(q, k, k, shape, fine) == "");
  CHECK(code(q, k, k, {4, 3, 8, 0.5f}, fine) == "ERR_SHAPE");
  CHECK(code(q, k, k, {4, 0, 8, 0.5f}, fine) == "ERR_SHAPE");
  CHECK(code(q, k, k, {4, 2, 0, 0.5f}, fine) == "ERR_SHAPE");
  CHECK(code(q, k, k, {4, 2, 8, 0.5f, 1}, fine) == "");
  CHECK(code(q, k, k, {4, 2, 8, 0.5f, -1}, fine) == "ERR_ARGUMENT");
  CHECK(code(k, k, k, shape, fine) == "ERR_SHAPE");
  CHECK(code(q, q, k, shape, fine) == "ERR_SHAPE");
  CHECK(code(q, k, q, shape, fine) == "ERR_SHAPE");
  CHECK(code(q, k, make(6, 16), shape, fine) == "ERR_SHAPE");
  CHECK(code(q, make(6, 16), make(6, 16), shape, fine) == "ERR_SHAPE");
  CHECK(code(q.reshaped({5, 4, 8}), k, k, shape, fine) == "ERR_SHAPE");
  CHECK(code(q, k, k, shape, late) == "ERR_ARGUMENT");
  CHECK(code(q, k, k, shape, brief) == "ERR_ARGUMENT");
  CHECK(code(q, k, k, shape, falling) == "ERR_ARGUMENT");
  CHECK(code(make(5, 32, DType::i32), k, k, shape, fine) == "ERR_DTYPE");
  CHECK(code(q, make(5, 16, DType::bf16), k, shape, fine) == "ERR_DTYPE");
  CHECK(code(q, k, make(5, 16, DType::bf16), shape, fine) == "ERR_DTYPE");
  const Var foreign = attention(other, leaf(q), k, k, shape, 2, fine);
  CHECK(code(foreign, k, k, shape, fine) == "ERR_FOREIGN");
  const std::atomic<bool> cancelled{true};
  tape.set_cancel_flag(&cancelled);
  CHECK(code(q, k, k, shape, fine) == "ERR_ABORTED");
}
