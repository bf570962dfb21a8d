#include "ops/sparse_delta/sparse_delta.h"

#include <set>

#include "tests/sparse_plan.h"
#include "tests/test_support.h"

using namespace rubricate;
using namespace rubricate::testing;

namespace {

struct Case {
  std::vector<std::pair<int32_t, int32_t>> sequences;  // length and slot; slot 3 has no update
  int64_t outputs, inputs;
  double one_of;  // entries of slots 1 and 2: about one in so many
  DType x = DType::f32, y = DType::f32;
};

const std::vector<Case> kCases = {
    {{{1, 1}}, 1, 1, 1},
    {{{3, 0}, {7, 2}, {1, 1}, {0, 2}, {9, 2}, {4, 3}}, 17, 33, 3},
    {{{3, 0}, {7, 2}, {1, 1}, {0, 2}, {9, 2}, {4, 3}}, 17, 33, 3, DType::bf16, DType::bf16},
    {{{70, 1}, {64, 2}, {5, 1}, {10, 0}, {200, 2}}, 100, 24, 40, DType::bf16, DType::f32},
    {{{40, 1}, {30, 1}, {2, 2}, {20, 2}}, 16, 48, 1, DType::f32, DType::bf16},
    {{{130, 2}, {1, 1}}, 40, 3, 50},  // rows and columns without entries
};

SparseIndex index_of(const Case& given, uint64_t seed) {
  std::vector<int32_t> indices = random_indices(given.outputs * given.inputs, given.one_of, seed);
  if (indices.empty()) indices.push_back(0);
  const SparseIndex index(given.outputs, given.inputs, indices.data(), static_cast<int64_t>(indices.size()), "index");
  return index.with(placed(index.tables()));
}

struct Inputs {
  explicit Inputs(const Case& given) : rows(given.sequences), outputs(given.outputs), inputs(given.inputs) {
    const auto arena = test_arena();
    const int64_t count = rows.view().rows;
    x = placed(random_tensor(arena, {count, inputs}, given.x, 1));
    y = random_tensor(arena, {count, outputs}, given.y, 2);
    grad = placed(random_tensor(arena, {count, outputs}, given.y, 3));
    slots.slots.resize(4);
    for (uint64_t s = 1; s <= 2; ++s) {
      const SparseIndex index = index_of(given, s);
      flat[s] = index.with(fetched(index.tables())).indices();
      const Tensor values = random_tensor(arena, {index.count()}, DType::f32, 10 * s);
      slots.slots[s] = {index, Var::parameter(placed(values))};
    }
  }
  TestRows rows;
  int64_t outputs, inputs;
  Tensor x, y, grad;
  SparseSlots slots;
  std::vector<int32_t> flat[4];
};

struct Outcome {
  Tensor y, dx, dy;
};

Outcome run(const Inputs& in, const SequenceRows& rows, const Tensor& x, const Tensor& y, const Tensor& grad) {
  Tape tape(device_arena(), Tape::Mode::training);
  const Var x_leaf = leaf(x), y_leaf = leaf(placed(y).copied_to(tape.arena()));
  const Var out = add_sparse(tape, y_leaf, x_leaf, in.slots, rows);
  Outcome outcome{out.value(), {}, {}};
  tape.backward(out, grad);
  outcome.dx = x_leaf.grad();
  outcome.dy = y_leaf.grad();
  return outcome;
}

// The contract in double, and the same with each sum in float32: what the precision rule compares with.
struct Reference {
  Doubles y, dx;
  std::vector<Doubles> dv;  // by slot
};

template <typename Real>
Reference reference(const Inputs& in) {
  const Doubles x = to_doubles(in.x), y = to_doubles(in.y), g = to_doubles(in.grad);
  Reference out{y, Doubles(x.size()), std::vector<Doubles>(4)};
  for (size_t s = 1; s <= 2; ++s) out.dv[s].resize(in.flat[s].size());
  const auto add = [](double& sum, double value) { sum = static_cast<double>(static_cast<Real>(sum + value)); };
  for_each_segment(in.rows.view(), 0, in.rows.view().rows, [&](int64_t begin, int64_t end, int32_t slot) {
    const auto s = static_cast<size_t>(slot);
    if (!in.slots.slots[s].index.defined()) return;
    const Doubles v = to_doubles(in.slots.slots[s].values.value());
    for (int64_t t = begin; t < end; ++t)
      for (size_t i = 0; i < in.flat[s].size(); ++i) {
        const auto at_y = static_cast<size_t>(t * in.outputs + in.flat[s][i] / in.inputs);
        const auto at_x = static_cast<size_t>(t * in.inputs + in.flat[s][i] % in.inputs);
        add(out.y[at_y], v[i] * x[at_x]);
        add(out.dx[at_x], v[i] * g[at_y]);
        add(out.dv[s][i], g[at_y] * x[at_x]);
      }
  });
  return out;
}

}  // namespace

TEST_CASE("sparse_delta adds each slot's entries, and its gradients are those of the formula") {
  on_every_device([] {
    for (const Case& given : kCases) {
      Inputs in(given);
      const Outcome got = run(in, in.rows.view(), in.x, in.y, in.grad);
      const Reference exact = reference<double>(in), naive = reference<float>(in);
      check_precision(got.y, exact.y, naive.y);
      check_precision(got.dx, exact.dx, naive.dx);
      CHECK(same_bits(got.dy, in.grad));
      for (size_t s = 1; s <= 2; ++s)
        if (in.slots.slots[s].values.grad().defined())
          check_precision(in.slots.slots[s].values.grad(), exact.dv[s], naive.dv[s]);
    }
  });
}

TEST_CASE("a row of sparse_delta has the same bits alone, and rows without an update keep theirs") {
  on_every_device([] {
    for (const size_t which : {1, 2, 3, 4}) {
      Inputs in(kCases[which]);
      const Tensor y = in.y.copied_to(test_arena());  // a negative zero too
      if (y.dtype() == DType::f32) y.data<float>()[0] = -0.0f;
      const Outcome all = run(in, in.rows.view(), in.x, y, in.grad);
      for (size_t s = 0; s < in.rows.slots.size(); ++s) {
        const int64_t begin = in.rows.starts[s], end = in.rows.starts[s + 1];
        if (begin == end) continue;
        const TestRows own({{static_cast<int32_t>(end - begin), in.rows.slots[s]}});
        const Tensor x = placed(copy_rows(test_arena(), in.x, begin, end)),
                     y_rows = copy_rows(test_arena(), y, begin, end),
                     grad = placed(copy_rows(test_arena(), in.grad, begin, end));
        if (!in.slots.slots[static_cast<size_t>(in.rows.slots[s])].index.defined()) {
          CHECK(same_bits(copy_rows(test_arena(), all.y, begin, end), y_rows));
          const Tensor dx = fetched(all.dx);
          for (int64_t i = begin * in.inputs; i < end * in.inputs; ++i)
            CHECK((element(dx, i) == 0.0 && std::signbit(element(dx, i))));
          continue;
        }
        const Outcome alone = run(in, own.view(), x, y_rows, grad);
        CHECK(same_bits(copy_rows(test_arena(), all.y, begin, end), alone.y));
        CHECK(same_bits(copy_rows(test_arena(), all.dx, begin, end), alone.dx));
      }
    }
  });
}

TEST_CASE("gradients of sparse_delta have the same bits for every pool, split and neighbour") {
  // Slot 2's sequences of 7 and 9 rows, and of 64 and 200, in one call beside others, and in calls of their own.
  for (const size_t which : {1, 3}) {
    std::set<std::string> bits;
    on_every_path([&] {
      bits.clear();
      for (const int threads : {1, 2, 3}) {
        const PoolSize size(threads);
        for (const bool apart : {false, true}) {
          Inputs in(kCases[which]);
          for (size_t s = 0; apart && s < in.rows.slots.size(); ++s) {
            const int64_t begin = in.rows.starts[s], end = in.rows.starts[s + 1];
            if (in.rows.slots[s] != 2 || begin == end) continue;
            const TestRows own({{static_cast<int32_t>(end - begin), 2}});
            run(in, own.view(), copy_rows(test_arena(), in.x, begin, end), copy_rows(test_arena(), in.y, begin, end),
                copy_rows(test_arena(), in.grad, begin, end));
          }
          if (!apart) run(in, in.rows.view(), in.x, in.y, in.grad);
          const Tensor& grad = in.slots.slots[2].values.grad();
          bits.emplace(static_cast<const char*>(grad.raw()), static_cast<size_t>(grad.bytes()));
        }
      }
      CHECK(bits.size() == 1);
    });
  }
}

TEST_CASE("block sums of more than one round are those of one") {
  // 24 blocks of 70,000 entries are 6.7 MB: two rounds. Each gradient is T times 1 * 1, exact.
  const int64_t outputs = 280, inputs = 250, rows = 24 * 64;
  std::vector<int32_t> indices(static_cast<size_t>(outputs * inputs));
  for (size_t i = 0; i < indices.size(); ++i) indices[i] = static_cast<int32_t>(i);
  const SparseIndex index(outputs, inputs, indices.data(), outputs * inputs, "index");
  const auto ones = [](const Shape& shape) { return random_tensor(test_arena(), shape, DType::f32, 1, 1.0, 1.0); };
  const Var values = Var::parameter(Tensor::zeros(test_arena(), {index.count()}, DType::f32));
  const TestRows sequences({{rows - 100, 1}, {100, 1}});
  Tape tape(test_arena(), Tape::Mode::training);
  const Var out =
      add_sparse(tape, ones({rows, outputs}), ones({rows, inputs}), {{{}, {index, values}}}, sequences.view());
  tape.backward(out, ones({rows, outputs}));
  CHECK(max_error(to_doubles(values.grad()), Doubles(indices.size(), static_cast<double>(rows))) == 0.0);
}

TEST_CASE("on a device sparse_delta has the same bits in every order of threads") {
  on_every_order([] {
    Inputs in(kCases[1]);
    const Outcome got = run(in, in.rows.view(), in.x, in.y, in.grad);
    return std::vector<Tensor>{got.y, got.dx, in.slots.slots[1].values.grad(), in.slots.slots[2].values.grad()};
  });
}

TEST_CASE("sparse_delta records nothing for frozen values, and refuses what does not fit") {
  Inputs in(kCases[1]);
  for (SparseUpdate& own : in.slots.slots) own.values = Var(own.values.value());
  const SequenceRows rows = in.rows.view();
  Tape tape(test_arena(), Tape::Mode::training);
  const Tensor before = in.y.copied_to(test_arena());
  CHECK(!same_bits(add_sparse(tape, in.y, in.x, in.slots, rows).value(), before));
  CHECK(tape.recorded() == 0);
  CHECK(same_bits(in.y, before));  // memory that others have is not reused
  const auto code = [&](const Tensor& y, const Tensor& x, const SparseSlots& slots) {
    return error_code([&] { add_sparse(tape, y, x, slots, rows); });
  };
  const auto arena = test_arena();
  const Tensor narrow = random_tensor(arena, {rows.rows, 5}, DType::f32, 1);
  CHECK(code(in.y, narrow, in.slots) == "ERR_SHAPE");
  CHECK(code(narrow, in.x, in.slots) == "ERR_SHAPE");
  CHECK(code(in.y, copy_rows(arena, in.x, 0, 3), in.slots) == "ERR_SHAPE");
  CHECK(code(in.y, Tensor::zeros(arena, in.x.shape(), DType::i32), in.slots) == "ERR_DTYPE");
  SparseSlots few = in.slots;
  few.slots.resize(2);
  CHECK(code(in.y, in.x, few) == "ERR_ARGUMENT");
  few = in.slots;
  few.slots[1].values = Tensor::zeros(arena, {3}, DType::f32);
  CHECK(code(in.y, in.x, few) == "ERR_SHAPE");
}

TEST_CASE("an index has its entries by rows and by columns, and is checked") {
  const std::vector<int32_t> flat{1, 2, 4, 11};  // of [3, 4]: (0, 1), (0, 2), (1, 0), (2, 3)
  const SparseIndex index(3, 4, flat.data(), 4, "index");
  CHECK(index.indices() == flat);
  const auto of = [](const int32_t* at, size_t count) { return std::vector<int32_t>(at, at + count); };
  CHECK(of(index.starts(), 4) == std::vector<int32_t>{0, 2, 3, 4});
  CHECK(of(index.columns(), 4) == std::vector<int32_t>{1, 2, 0, 3});
  CHECK(of(index.column_starts(), 5) == std::vector<int32_t>{0, 1, 2, 3, 4});
  CHECK(of(index.rows(), 4) == std::vector<int32_t>{1, 0, 0, 2});
  CHECK(of(index.order(), 4) == std::vector<int32_t>{2, 0, 1, 3});
  const std::vector<int32_t> other{1, 2, 4, 10};
  CHECK(index == SparseIndex(3, 4, flat.data(), 4, "other"));
  CHECK(!(index == SparseIndex(3, 4, other.data(), 4, "index")));
  const auto refused = [](const std::vector<int32_t>& indices, int64_t outputs = 3) {
    return thrown([&] { SparseIndex(outputs, 4, indices.data(), static_cast<int64_t>(indices.size()), "X.index"); });
  };
  const struct {
    std::vector<int32_t> indices;
    const char* part;
  } cases[] = {{{}, "at least one entry for X.index"},
               {{2, 1}, "ascending numbers, each once, for X.index but received 1 after 2 at 1"},
               {{2, 2}, "received 2 after 2 at 1"},
               {{-1, 2}, "numbers from 0 to 11 for X.index but received -1 at 0"},
               {{2, 12}, "received 12 at 1"}};
  for (const auto& [indices, part] : cases) {
    const auto [code, message] = refused(indices);
    CHECK(code == "ERR_ARGUMENT");
    CHECK_MESSAGE(contains(message, part), message);
  }
  CHECK(refused({1}, int64_t{1} << 29).first == "ERR_SHAPE");
}
