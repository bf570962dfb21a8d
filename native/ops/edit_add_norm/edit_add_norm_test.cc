#include "ops/edit_add_norm/edit_add_norm.h"

#include "ops/elementwise/elementwise.h"
#include "ops/rms_norm/rms_norm.h"
#include "tests/test_support.h"

using namespace rubricate;
using namespace rubricate::testing;

namespace {

constexpr float kEps = 1e-5f;

// One call: its parts, and which of them train.
struct Case {
  const char* name;
  std::vector<std::pair<int32_t, int32_t>> sequences;  // length and slot
  int64_t cols;
  bool edit = true, norm = true;
  bool h_grad = true, residual_grad = true, vectors_train = true, weight_trains = true;
  bool grad_sum = true, grad_normed = true;  // which outputs the loss uses
};

const std::vector<Case> kCases = {
    {.name = "one element", .sequences = {{1, 1}}, .cols = 1},
    {.name = "one vector of columns", .sequences = {{5, 1}}, .cols = 16},
    {.name = "four sequences of three slots", .sequences = {{3, 0}, {7, 2}, {1, 1}, {9, 2}}, .cols = 33},
    {.name = "blocks of 64 rows, complete and partial",
     .sequences = {{130, 1}, {64, 2}, {65, 1}, {10, 0}},
     .cols = 100},
    {.name = "many rows", .sequences = {{700, 1}}, .cols = 129},
    {.name = "many columns", .sequences = {{40, 1}, {3, 2}}, .cols = 1030},
    {.name = "no row has an edit", .sequences = {{12, 0}}, .cols = 48},
    {.name = "no edit at all", .sequences = {{12, 1}}, .cols = 48, .edit = false},
    {.name = "no norm", .sequences = {{12, 1}, {70, 2}}, .cols = 48, .norm = false},
    {.name = "only the residual", .sequences = {{12, 1}, {70, 2}}, .cols = 48, .edit = false, .norm = false},
    {.name = "the lowest edit of a model",
     .sequences = {{12, 1}, {70, 2}},
     .cols = 40,
     .h_grad = false,
     .residual_grad = false,
     .weight_trains = false},
    {.name = "only the norm's weight trains",
     .sequences = {{12, 1}, {70, 2}},
     .cols = 40,
     .h_grad = false,
     .residual_grad = false,
     .vectors_train = false},
    {.name = "above a frozen edit",
     .sequences = {{12, 1}, {70, 2}},
     .cols = 40,
     .vectors_train = false,
     .weight_trains = false},
    {.name = "under a frozen norm, as RED trains it",
     .sequences = {{12, 1}, {70, 2}},
     .cols = 40,
     .weight_trains = false},
    {.name = "under a frozen norm, with rows that have no edit",
     .sequences = {{3, 0}, {70, 2}, {1, 1}, {9, 2}},
     .cols = 33,
     .weight_trains = false},
    {.name = "the loss uses only the sum", .sequences = {{12, 1}, {70, 2}}, .cols = 40, .grad_normed = false},
    {.name = "the loss uses only the normed", .sequences = {{12, 1}, {70, 2}}, .cols = 40, .grad_sum = false},
    {.name = "no row", .sequences = {{0, 1}}, .cols = 5},
    {.name = "whole chunks of 8 columns, and enough tiles to fuse the sums",
     .sequences = {{130, 1}, {64, 2}, {65, 1}, {10, 0}},
     .cols = 104},
    {.name = "two chunks per thread, on a device", .sequences = {{70, 1}, {130, 2}, {3, 0}}, .cols = 2056},
    {.name = "four chunks per thread, on a device", .sequences = {{2, 1}, {1, 2}}, .cols = 8200},
    {.name = "more than a block's registers hold", .sequences = {{2, 1}}, .cols = 16392},
};

struct Inputs {
  Tensor h, residual, weight, grad_sum, grad_normed;
  std::vector<std::pair<Tensor, Tensor>> vectors;  // scale and bias of slots 1 and 2; slot 2 has no bias
};
Inputs make_inputs(const Case& c, const TestRows& rows, DType dtype) {
  const auto arena = test_arena();
  const Shape shape{rows.view().rows, c.cols};
  const auto vector = [&](uint64_t seed) { return random_tensor(arena, {c.cols}, DType::f32, seed, -1.5, 2.0); };
  return {random_tensor(arena, shape, dtype, 1),
          random_tensor(arena, shape, dtype, 2, -2.0, 2.0),
          vector(3),
          random_tensor(arena, shape, dtype, 4),
          random_tensor(arena, shape, dtype, 5),
          {{vector(6), vector(7)}, {vector(8), Tensor()}}};
}

struct Result {
  Tensor sum, normed, dh, dresidual, dweight;
  std::vector<std::pair<Tensor, Tensor>> dvectors;
  int64_t recorded = 0;
};

// Runs edit_add_norm, or the same formula as single ops with the sum in fp32.
Result run(const Case& c, const Inputs& in, const TestRows& rows, bool fused) {
  const auto train = [](const Tensor& x, bool trains) {
    return !x.defined() ? Var() : trains ? Var::parameter(placed(x)) : Var(placed(x));
  };
  const auto row_input = [](const Tensor& x, bool wanted) { return wanted ? leaf(placed(x)) : Var(placed(x)); };
  const Var h = row_input(in.h, c.h_grad), residual = row_input(in.residual, c.residual_grad);
  const SumNorm norm{c.norm ? train(in.weight, c.weight_trains) : Var(), kEps};
  SlotVectors edit{{{}}};
  for (const auto& [scale, bias] : in.vectors)
    edit.slots.push_back({train(scale, c.vectors_train), train(bias, c.vectors_train)});

  Tape tape(device_arena(), Tape::Mode::training);
  Var sum, normed;
  if (fused) {
    std::tie(sum, normed) = edit_add_norm(tape, h, residual, c.edit ? &edit : nullptr, rows.view(), norm);
  } else {
    const DType dtype = in.h.dtype();
    Var e = cast(tape, h, DType::f32);
    if (c.edit) e = red_edit(tape, e, edit, rows.view());
    const Var rounded = cast(tape, add(tape, cast(tape, residual, DType::f32), e), dtype);
    const Var wide = cast(tape, rounded, DType::f32);
    sum = cast(tape, wide, dtype);
    if (c.norm) normed = cast(tape, rms_norm(tape, wide, norm.weight, kEps), dtype);
  }
  Result result{sum.value(), normed.value(), {}, {}, {}, {}, tape.recorded()};
  if (c.grad_normed && normed.requires_grad()) tape.accumulate(normed.slot(), placed(in.grad_normed));
  if (c.grad_sum && sum.requires_grad()) tape.accumulate(sum.slot(), placed(in.grad_sum));
  // Backward from an independent value: the gradients accumulated above flow.
  if (sum.requires_grad() || normed.requires_grad()) {
    const Var start = cast(tape, leaf(placed(random_tensor(test_arena(), {1}, DType::bf16, 1))), DType::f32);
    tape.backward(start);
  }
  result.dh = h.grad();
  result.dresidual = residual.grad();
  result.dweight = norm.weight.grad();
  for (size_t s = 1; s < edit.slots.size(); ++s)
    result.dvectors.emplace_back(edit.slots[s].scale.grad(), edit.slots[s].bias.grad());
  return result;
}

bool same(const Tensor& a, const Tensor& b) { return (!a.defined() && !b.defined()) || same_bits(a, b); }

void check_same(const Result& a, const Result& b) {
  CHECK(same(a.sum, b.sum));
  CHECK(same(a.normed, b.normed));
  CHECK(same(a.dh, b.dh));
  CHECK(same(a.dresidual, b.dresidual));
  CHECK(same(a.dweight, b.dweight));
  for (size_t s = 0; s < a.dvectors.size(); ++s) {
    CHECK(same(a.dvectors[s].first, b.dvectors[s].first));
    CHECK(same(a.dvectors[s].second, b.dvectors[s].second));
  }
}

// The loss sum(c1 * sum + c2 * normed) in double, as a function of all inputs.
struct Reference {
  const Inputs& in;
  const TestRows& rows;
  int64_t cols;

  void forward(const Doubles& h, const Doubles& residual, const Doubles& weight, const std::vector<Doubles>& vectors,
               Doubles& sum, Doubles& normed) const {
    const auto d = static_cast<size_t>(cols);
    sum.resize(h.size());
    normed.resize(h.size());
    for (size_t s = 0; s < rows.slots.size(); ++s)
      for (auto t = static_cast<size_t>(rows.starts[s]); t < static_cast<size_t>(rows.starts[s + 1]); ++t) {
        double squares = 0.0;
        for (size_t j = 0; j < d; ++j) {
          double e = h[t * d + j];
          if (rows.slots[s] == 1) e = vectors[0][j] * e + vectors[1][j];
          if (rows.slots[s] == 2) e = vectors[2][j] * e;
          sum[t * d + j] = residual[t * d + j] + e;
          squares += sum[t * d + j] * sum[t * d + j];
        }
        const double inv = 1.0 / std::sqrt(squares / static_cast<double>(d) + static_cast<double>(kEps));
        for (size_t j = 0; j < d; ++j) normed[t * d + j] = sum[t * d + j] * inv * weight[j];
      }
  }

  double loss(const Doubles& h, const Doubles& residual, const Doubles& weight,
              const std::vector<Doubles>& vectors) const {
    Doubles sum, normed;
    forward(h, residual, weight, vectors, sum, normed);
    double total = 0.0;
    for (size_t i = 0; i < sum.size(); ++i)
      total += sum[i] * element(in.grad_sum, static_cast<int64_t>(i)) +
               normed[i] * element(in.grad_normed, static_cast<int64_t>(i));
    return total;
  }
};

}  // namespace

TEST_CASE("edit_add_norm has the bits of red_edit, add and rms_norm, forward and backward") {
  for (const DType dtype : {DType::f32, DType::bf16})
    for (const Case& c : kCases) {
      CAPTURE(c.name);
      const TestRows rows(c.sequences);
      const Inputs in = make_inputs(c, rows, dtype);
      on_every_device([&] { check_same(run(c, in, rows, true), run(c, in, rows, false)); });
    }
}

TEST_CASE("edit_add_norm gives the same bits on pools of any size") {
  for (const DType dtype : {DType::f32, DType::bf16})
    for (const Case& c : kCases) {
      CAPTURE(c.name);
      const TestRows rows(c.sequences);
      const Inputs in = make_inputs(c, rows, dtype);
      on_every_path([&] {
        const PoolSize one(1);
        const Result expected = run(c, in, rows, true);
        for (const int threads : {2, 3, 7}) {
          const PoolSize size(threads);
          check_same(run(c, in, rows, true), expected);
        }
      });
    }
}

TEST_CASE("edit_add_norm: values against double, within the precision rule") {
  for (const DType dtype : {DType::f32, DType::bf16})
    for (const Case& c : kCases) {
      if (!c.edit || !c.norm) continue;
      CAPTURE(c.name);
      const TestRows rows(c.sequences);
      const Inputs in = make_inputs(c, rows, dtype);
      std::vector<Doubles> vectors;
      for (const Tensor& v : {in.vectors[0].first, in.vectors[0].second, in.vectors[1].first})
        vectors.push_back(to_doubles(v));
      const Reference reference{in, rows, c.cols};
      Doubles sum, normed, exact_sum, exact_normed;
      reference.forward(to_doubles(in.h), to_doubles(in.residual), to_doubles(in.weight), vectors, exact_sum,
                        exact_normed);
      // Naive: each step is rounded to the dtype.
      const auto arena = test_arena();
      const auto rounded = [&](const Doubles& x) {
        return to_doubles(from_doubles(arena, {static_cast<int64_t>(x.size())}, dtype, x));
      };
      Doubles edited = to_doubles(in.h);
      const auto edit = [&](size_t slot, const auto& change) {
        for (size_t s = 0; s < rows.slots.size(); ++s)
          if (rows.slots[s] == static_cast<int32_t>(slot))
            for (auto i = static_cast<size_t>(rows.starts[s] * c.cols);
                 i < static_cast<size_t>(rows.starts[s + 1] * c.cols); ++i)
              change(edited[i], i % static_cast<size_t>(c.cols));
        edited = rounded(edited);
      };
      edit(1, [&](double& y, size_t j) { y *= vectors[0][j]; });
      edit(2, [&](double& y, size_t j) { y *= vectors[2][j]; });
      edit(1, [&](double& y, size_t j) { y += vectors[1][j]; });
      const Doubles zeros(edited.size());
      Doubles naive_sum = to_doubles(in.residual);
      for (size_t i = 0; i < edited.size(); ++i) naive_sum[i] += edited[i];
      naive_sum = rounded(naive_sum);
      Doubles unused, naive_normed;
      const TestRows plain({{rows.starts.back(), 0}});
      Reference{in, plain, c.cols}.forward(zeros, naive_sum, to_doubles(in.weight), vectors, unused, naive_normed);
      naive_normed = rounded(naive_normed);
      on_every_device([&] {
        const Result result = run(c, in, rows, true);
        check_precision(result.sum, exact_sum, naive_sum);
        check_precision(result.normed, exact_normed, naive_normed);
      });
    }
}

TEST_CASE("edit_add_norm: gradients against central differences in double") {
  const Case c{.name = "small", .sequences = {{3, 1}, {2, 0}, {4, 2}, {2, 1}}, .cols = 7};
  const TestRows rows(c.sequences);
  const Inputs in = make_inputs(c, rows, DType::f32);
  const Doubles h = to_doubles(in.h), residual = to_doubles(in.residual), weight = to_doubles(in.weight);
  const std::vector<Doubles> vectors{to_doubles(in.vectors[0].first), to_doubles(in.vectors[0].second),
                                     to_doubles(in.vectors[1].first)};
  const Reference reference{in, rows, c.cols};
  const auto of_vector = [&](size_t which) {
    return numeric_gradient(
        [&](const Doubles& x) {
          std::vector<Doubles> changed = vectors;
          changed[which] = x;
          return reference.loss(h, residual, weight, changed);
        },
        vectors[which]);
  };
  const Doubles dh =
      numeric_gradient([&](const Doubles& x) { return reference.loss(x, residual, weight, vectors); }, h);
  const Doubles dresidual =
      numeric_gradient([&](const Doubles& x) { return reference.loss(h, x, weight, vectors); }, residual);
  const Doubles dweight =
      numeric_gradient([&](const Doubles& x) { return reference.loss(h, residual, x, vectors); }, weight);
  on_every_device([&] {
    const Result result = run(c, in, rows, true);
    check_close(to_doubles(result.dh), dh, 1e-5, 1e-6);
    check_close(to_doubles(result.dresidual), dresidual, 1e-5, 1e-6);
    check_close(to_doubles(result.dweight), dweight, 1e-5, 1e-6);
    check_close(to_doubles(result.dvectors[0].first), of_vector(0), 1e-5, 2e-6);
    check_close(to_doubles(result.dvectors[0].second), of_vector(1), 1e-5, 2e-6);
    check_close(to_doubles(result.dvectors[1].first), of_vector(2), 1e-5, 2e-6);
  });
}

TEST_CASE("edit_add_norm: a row alone has the bits that it has in a batch") {
  const auto arena = test_arena();
  for (const int64_t cols : {83, 88})
    for (const DType dtype : {DType::f32, DType::bf16}) {
      const Case batch{.name = "batch", .sequences = {{3, 1}, {70, 2}, {20, 0}, {200, 2}}, .cols = cols};
      const TestRows rows(batch.sequences);
      const Inputs in = make_inputs(batch, rows, dtype);
      on_every_device([&] {
        const Result all = run(batch, in, rows, true);
        for (const int64_t t : {0, 2, 3, 40, 72, 73, 92, 280}) {
          const Case alone{.name = "one row", .sequences = {{1, t < 3 ? 1 : t < 73 || t >= 93 ? 2 : 0}}, .cols = cols};
          const auto row = [&](const Tensor& x) { return copy_rows(arena, x, t, t + 1); };
          const Inputs one{row(in.h), row(in.residual), in.weight, row(in.grad_sum), row(in.grad_normed), in.vectors};
          const Result result = run(alone, one, TestRows(alone.sequences), true);
          CHECK(same_bits(result.sum, row(all.sum)));
          CHECK(same_bits(result.normed, row(all.normed)));
          CHECK(same_bits(result.dh, row(all.dh)));
          CHECK(same_bits(result.dresidual, row(all.dresidual)));
        }
      });
    }
}

TEST_CASE("edit_add_norm: on a device, the same bits in every order of threads and blocks") {
  for (const int64_t cols : {36, 264})
    for (const DType dtype : {DType::f32, DType::bf16}) {
      const Case c{
          .name = "tiles of several sequences", .sequences = {{66, 1}, {64, 2}, {3, 1}, {10, 0}, {1, 2}}, .cols = cols};
      const TestRows rows(c.sequences);
      const Inputs in = make_inputs(c, rows, dtype);
      on_every_order([&] {
        const Result r = run(c, in, rows, true);
        return std::vector<Tensor>{r.sum,
                                   r.normed,
                                   r.dh,
                                   r.dresidual,
                                   r.dweight,
                                   r.dvectors[0].first,
                                   r.dvectors[0].second,
                                   r.dvectors[1].first};
      });
    }
}

TEST_CASE("edit_add_norm saves only what its backward needs") {
  const auto kept = [](Case c, Tape::Mode mode) {
    const TestRows rows(c.sequences);
    const Inputs in = make_inputs(c, rows, DType::f32);
    const auto arena = test_arena();
    Tape tape(arena, mode);
    SlotVectors edit{{{}, {Var::parameter(in.vectors[0].first), Var::parameter(in.vectors[0].second)}}};
    if (!c.vectors_train) edit.slots[1] = {in.vectors[0].first, in.vectors[0].second};
    const auto of_h = test_arena();
    {
      const Tensor h = random_tensor(of_h, {64, 64}, DType::f32, 1);
      edit_add_norm(tape, c.h_grad ? leaf(h) : Var(h), in.residual, &edit, rows.view(), {Var(in.weight), kEps});
    }
    return std::pair<int64_t, bool>{arena->stats().used, of_h->stats().used > 0};
  };
  const Case trains{.name = "one sequence", .sequences = {{64, 1}}, .cols = 64};
  Case frozen = trains;
  frozen.vectors_train = false;
  Case pruned = frozen;
  pruned.h_grad = false;
  const int64_t inv = 64 * 4, sum_and_inv = 64 * 64 * 4 + inv;
  CHECK(kept(trains, Tape::Mode::training) == std::pair<int64_t, bool>{inv, true});  // the sum is recomputed from h
  CHECK(kept(frozen, Tape::Mode::training) == std::pair<int64_t, bool>{sum_and_inv, false});
  CHECK(kept(pruned, Tape::Mode::training) == std::pair<int64_t, bool>{0, false});
  CHECK(kept(trains, Tape::Mode::inference) == std::pair<int64_t, bool>{0, false});
}

TEST_CASE("edit_add_norm: if no row is edited, h and the residual share one gradient") {
  Case c{.name = "no edit", .sequences = {{9, 0}}, .cols = 20};
  const TestRows rows(c.sequences);
  const Result result = run(c, make_inputs(c, rows, DType::f32), rows, true);
  CHECK(result.dh.raw() == result.dresidual.raw());
}

TEST_CASE("edit_add_norm: wrong arguments") {
  const auto arena = test_arena();
  Tape tape(arena, Tape::Mode::training);
  const Tensor h = random_tensor(arena, {4, 20}, DType::f32, 1);
  const Var weight = random_tensor(arena, {20}, DType::f32, 2);
  const TestRows rows({{4, 1}});
  const SlotVectors edit{{{}, {weight, {}}}};
  const auto code = [&](const Var& h, const Var& residual, const TestRows& rows, const Var& weight) {
    return error_code([&] { edit_add_norm(tape, h, residual, &edit, rows.view(), {weight, kEps}); });
  };
  CHECK(code(h, h, rows, weight) == "");
  CHECK(code(h, random_tensor(arena, {4, 21}, DType::f32, 1), rows, weight) == "ERR_SHAPE");
  CHECK(code(h, random_tensor(arena, {4, 20}, DType::bf16, 1), rows, weight) == "ERR_DTYPE");
  CHECK(code(h, h, TestRows({{5, 1}}), weight) == "ERR_SHAPE");
  CHECK(code(h, h, TestRows({{4, 2}}), weight) == "ERR_ARGUMENT");
  CHECK(code(h, h, rows, random_tensor(arena, {19}, DType::f32, 1)) == "ERR_SHAPE");
  CHECK(code(h, h, rows, random_tensor(arena, {20}, DType::bf16, 1)) == "ERR_DTYPE");
  CHECK(code(Var(), h, rows, weight) == "ERR_ARGUMENT");
  Tape other(arena, Tape::Mode::training);
  const Var foreign = scale_by(other, leaf(h), 2.0f);
  CHECK(code(h, foreign, rows, weight) == "ERR_FOREIGN");
  const std::atomic<bool> cancelled{true};
  tape.set_cancel_flag(&cancelled);
  CHECK(code(h, h, rows, weight) == "ERR_ABORTED");
}
