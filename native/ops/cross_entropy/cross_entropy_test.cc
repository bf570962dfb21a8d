#include "ops/cross_entropy/cross_entropy.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <vector>

#include "tests/test_support.h"

using namespace rubricate;
using namespace rubricate::testing;

namespace {

struct Problem {
  std::shared_ptr<Arena> arena = test_arena();
  Tensor x, matrix;
  std::vector<int32_t> rows, targets;
  std::vector<float> weights;

  // Every `every`-th row has loss, with unequal weights.
  Problem(int64_t all, int64_t d, int64_t vocabulary, int every, DType x_dtype, DType w_dtype, double size = 1.0) {
    x = random_tensor(arena, {all, d}, x_dtype, 1, -size, size);
    matrix = random_tensor(arena, {vocabulary, d}, w_dtype, 2);
    for (int64_t r = every / 2; r < all; r += every) {
      const auto i = rows.size();
      rows.push_back(static_cast<int32_t>(r));
      targets.push_back(static_cast<int32_t>(philox_uniform(3, 0, i) * static_cast<double>(vocabulary)));
      weights.push_back(static_cast<float>(0.25 + philox_uniform(4, 0, i)));
    }
  }
  LossRows loss_rows() const {
    return {static_cast<int64_t>(rows.size()), rows.data(), targets.data(), weights.data()};
  }
};

struct Result {
  CrossEntropy out;
  Tensor dx, dw;
};

Result run(const Problem& p, bool train_x = true, bool train_w = true, float seed = 1.0f) {
  Tape tape(device_arena(), Tape::Mode::training);
  const Var x = train_x ? leaf(placed(p.x)) : Var(placed(p.x));
  Weight head = Weight::of(placed(p.matrix));
  const Var w = Var::parameter(p.matrix);
  if (train_w) head.gradient = w.slot();
  Result result;
  result.out = head_cross_entropy(tape, x, head, p.loss_rows());
  if (!train_x && !train_w) {
    CHECK(tape.recorded() == 0);
    return result;
  }
  tape.backward(result.out.loss, placed(from_doubles(p.arena, {1}, DType::f32, {static_cast<double>(seed)})));
  if (train_x) result.dx = x.grad();
  if (train_w) result.dw = w.grad();
  return result;
}

// The formulas of cross_entropy.h, in T; dz is rounded to x's dtype if T is float.
template <typename T>
struct Reference {
  Doubles row_loss, dx, dw;
  double loss = 0.0;

  explicit Reference(const Problem& p)
      : dx(static_cast<size_t>(p.x.count()), 0.0), dw(static_cast<size_t>(p.matrix.count()), 0.0) {
    const int64_t d = p.x.cols(), n = p.matrix.rows();
    std::vector<T> dx_sum(dx.size()), dw_sum(dw.size());
    std::vector<T> z(static_cast<size_t>(n));
    for (size_t i = 0; i < p.rows.size(); ++i) {
      const int64_t row = p.rows[i];
      const auto at = [&](const Tensor& m, int64_t r, int64_t c) { return static_cast<T>(element(m, r * d + c)); };
      for (int64_t v = 0; v < n; ++v) {
        T sum = 0;
        for (int64_t k = 0; k < d; ++k) sum += at(p.x, row, k) * at(p.matrix, v, k);
        z[static_cast<size_t>(v)] = sum;
      }
      const T most = *std::max_element(z.begin(), z.end());
      T sum = 0;
      for (const T value : z) sum += std::exp(value - most);
      const T loss_of_row = most + std::log(sum) - z[static_cast<size_t>(p.targets[i])];
      row_loss.push_back(static_cast<double>(loss_of_row));
      loss += static_cast<double>(p.weights[i]) * static_cast<double>(loss_of_row);
      for (int64_t v = 0; v < n; ++v) {
        const T hot = v == p.targets[i] ? T(1) : T(0);
        T dz = static_cast<T>(p.weights[i]) * (std::exp(z[static_cast<size_t>(v)] - most) / sum - hot);
        if (sizeof(T) == 4 && p.x.dtype() == DType::bf16)
          dz = static_cast<T>(to_float(from_float<bf16>(static_cast<float>(dz))));
        for (int64_t k = 0; k < d; ++k) {
          dx_sum[static_cast<size_t>(row * d + k)] += dz * at(p.matrix, v, k);
          dw_sum[static_cast<size_t>(v * d + k)] += dz * at(p.x, row, k);
        }
      }
    }
    for (size_t i = 0; i < dx.size(); ++i) {
      dx[i] = static_cast<double>(dx_sum[i]);
      if (sizeof(T) == 4 && p.x.dtype() == DType::bf16)
        dx[i] = static_cast<double>(to_float(from_float<bf16>(static_cast<float>(dx_sum[i]))));
    }
    for (size_t i = 0; i < dw.size(); ++i) dw[i] = static_cast<double>(dw_sum[i]);
  }
};

Doubles as_doubles(const std::vector<float>& values) { return {values.begin(), values.end()}; }

}  // namespace

TEST_CASE("head_cross_entropy keeps the precision rule: losses, dx and dW") {
  struct Case {
    int64_t all, d, vocabulary;
    int every;
    DType x, w;
    double size;
  };
  const Case cases[] = {
      {1, 1, 1, 1, DType::f32, DType::f32, 1.0},       {5, 7, 3, 2, DType::f32, DType::f32, 1.0},
      {5, 7, 3, 2, DType::bf16, DType::bf16, 1.0},     {33, 16, 123, 1, DType::f32, DType::bf16, 5.0},
      {9, 48, 2050, 3, DType::bf16, DType::bf16, 1.0}, {4, 5, 4133, 1, DType::f32, DType::f16, 30.0},
      {12, 31, 17, 4, DType::bf16, DType::f32, 8.0},
  };
  for (const Case& c : cases) {
    CAPTURE(c.vocabulary);
    const Problem p(c.all, c.d, c.vocabulary, c.every, c.x, c.w, c.size);
    const Reference<double> exact(p);
    const Reference<float> naive(p);
    on_every_device([&] {
      const Result got = run(p);
      const Doubles losses = as_doubles(got.out.row_loss);
      check_precision(from_doubles(p.arena, {static_cast<int64_t>(losses.size())}, DType::f32, losses), exact.row_loss,
                      naive.row_loss);
      check_close(to_doubles(got.out.loss.value()), {exact.loss}, 1e-6, 1e-6);
      check_precision(got.dx, exact.dx, naive.dx);
      check_precision(got.dw, exact.dw, naive.dw);
    });
  }
}

TEST_CASE("head_cross_entropy over several chunks of rows, adjacent or not") {
  for (const int every : {1, 2}) {  // 2,100 and 1,050 rows, at most 1,024 a chunk
    CAPTURE(every);
    const Problem p(2100, 6, 3, every, DType::f32, DType::f32);
    const Reference<double> exact(p);
    const Reference<float> naive(p);
    on_every_device([&] {
      const Result got = run(p);
      check_precision(got.dx, exact.dx, naive.dx);
      check_precision(got.dw, exact.dw, naive.dw);
      check_close(as_doubles(got.out.row_loss), exact.row_loss, 1e-6, 1e-6);
      check_close(to_doubles(got.out.loss.value()), {exact.loss}, 1e-7, 0.0);
      Problem tail = p;  // only the last row: as in its chunk
      tail.rows = {p.rows.back()};
      tail.targets = {p.targets.back()};
      tail.weights = {p.weights.back()};
      const int64_t last = p.rows.back();
      CHECK(run(tail).out.row_loss[0] == got.out.row_loss.back());
      CHECK(same_bits(copy_rows(p.arena, run(tail).dx, last, last + 1), copy_rows(p.arena, got.dx, last, last + 1)));
    });
  }
}

TEST_CASE("head_cross_entropy: on a device, the same bits in every order of threads and blocks") {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Problem p(12, 20, 300, 2, dtype, dtype);
    on_every_order([&] {
      const Result result = run(p);
      return std::vector<Tensor>{result.out.loss.value(), result.dx, result.dw};
    });
  }
}

TEST_CASE("head_cross_entropy: dx by finite differences of the loss") {
  const Problem p(4, 5, 9, 1, DType::f32, DType::f32);
  const auto loss = [&](const Doubles& x) {
    double total = 0.0;
    for (size_t r = 0; r < 4; ++r) {
      Doubles z(9, 0.0);
      for (size_t v = 0; v < 9; ++v)
        for (size_t k = 0; k < 5; ++k) z[v] += x[r * 5 + k] * element(p.matrix, static_cast<int64_t>(v * 5 + k));
      double sum = 0.0;
      for (const double value : z) sum += std::exp(value);
      total += static_cast<double>(p.weights[r]) * (std::log(sum) - z[static_cast<size_t>(p.targets[r])]);
    }
    return total;
  };
  check_close(to_doubles(run(p).dx), numeric_gradient(loss, to_doubles(p.x)), 1e-5, 1e-6);
}

TEST_CASE("a row has the same bits alone, among any other rows, anywhere in the batch") {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Problem all(37, 24, 1031, 1, dtype, DType::bf16);
    on_every_device([&] {
      Result reference;
      {
        const PoolSize one(1);
        reference = run(all);
      }
      for (const int threads : {2, 3}) {
        const PoolSize size(threads);
        const Result again = run(all);
        CHECK(again.out.row_loss == reference.out.row_loss);
        CHECK(same_bits(again.out.loss.value(), reference.out.loss.value()));
        CHECK(same_bits(again.dx, reference.dx));
        CHECK(same_bits(again.dw, reference.dw));
      }
      Problem few = all;
      few.rows = {3, 4, 20, 36};
      few.targets.clear();
      few.weights.clear();
      for (const int32_t r : few.rows) {
        few.targets.push_back(all.targets[static_cast<size_t>(r)]);
        few.weights.push_back(all.weights[static_cast<size_t>(r)]);
      }
      const Result part = run(few);
      for (size_t i = 0; i < few.rows.size(); ++i) {
        const int32_t r = few.rows[i];
        CHECK(part.out.row_loss[i] == reference.out.row_loss[static_cast<size_t>(r)]);
        CHECK(same_bits(copy_rows(all.arena, part.dx, r, r + 1), copy_rows(all.arena, reference.dx, r, r + 1)));
      }
      for (const double value : to_doubles(copy_rows(all.arena, part.dx, 5, 20))) CHECK(value == 0.0);
      CHECK(run(all, false, false).out.row_loss == reference.out.row_loss);
      CHECK(same_bits(run(all, true, false).dx, reference.dx));
      CHECK(same_bits(run(all, false, true).dw, reference.dw));
    });
  }
}

TEST_CASE("backward multiplies by the loss's gradient, and adds to an existing gradient of the weight") {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Problem p(6, 11, 19, 1, dtype, DType::f32);
    on_every_device([&] {
      const Result one = run(p), four = run(p, true, true, 4.0f);
      Doubles dx = to_doubles(one.dx), dw = to_doubles(one.dw);
      for (double& value : dx) value *= 4.0;
      for (double& value : dw) value *= 4.0;
      CHECK(to_doubles(four.dx) == dx);
      CHECK(to_doubles(four.dw) == dw);

      Tape tape(device_arena(), Tape::Mode::training);
      Weight head = Weight::of(placed(p.matrix));
      const Var w = Var::parameter(p.matrix);
      head.gradient = w.slot();
      for (int round = 0; round < 2; ++round)
        tape.backward(head_cross_entropy(tape, placed(p.x), head, p.loss_rows()).loss);
      dw = to_doubles(one.dw);
      for (double& value : dw) value *= 2.0;
      CHECK(to_doubles(w.grad()) == dw);
    });
  }
}

TEST_CASE("row_correct: the lowest of equal logits counts") {
  const auto arena = test_arena();
  Problem p(3, 1, 20, 1, DType::f32, DType::f32);
  p.x = from_doubles(arena, {3, 1}, DType::f32, {1.0, 1.0, 1.0});
  Doubles w(20, -1.0);
  w[4] = w[17] = 2.0;
  p.matrix = from_doubles(arena, {20, 1}, DType::f32, w);
  p.targets = {4, 17, 5};
  on_every_device([&] { CHECK(run(p).out.row_correct == std::vector<uint8_t>{1, 0, 0}); });
}

TEST_CASE("a logit that is not finite gives a loss that is not finite") {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()})
    for (const int64_t place : {0, 17, 18}) {
      const Problem p(2, 1, 19, 1, DType::f32, DType::f32);
      p.x.data<float>()[0] = 1.0f;
      p.matrix.data<float>()[place] = bad;
      on_every_device([&] { CHECK_FALSE(std::isfinite(run(p).out.row_loss[0])); });
    }
}

TEST_CASE("no rows with loss: a loss of zero and gradients of zero") {
  Problem p(3, 4, 5, 1, DType::f32, DType::f32);
  p.rows.clear();
  on_every_device([&] {
    const Result got = run(p);
    CHECK(to_doubles(got.out.loss.value()) == Doubles{0.0});
    CHECK(to_doubles(got.dx) == Doubles(12, 0.0));
    CHECK(to_doubles(got.dw) == Doubles(20, 0.0));
  });
}

TEST_CASE("head_logits gives chosen rows in any order") {
  const Problem p(7, 20, 133, 1, DType::bf16, DType::bf16);
  const int32_t rows[] = {5, 0, 5};
  on_every_device([&] {
    Tape tape(device_arena(), Tape::Mode::inference);
    const Weight head = Weight::of(placed(p.matrix));
    const Tensor x = placed(p.x), logits = head_logits(tape, x, head, 3, rows);
    CHECK(head_logits(tape, x, head, 0, nullptr).count() == 0);
    CHECK(logits.shape() == Shape{3, 133});
    CHECK(same_bits(copy_rows(p.arena, logits, 0, 1), copy_rows(p.arena, logits, 2, 3)));
    Doubles expected;
    for (const int32_t r : rows)
      for (int64_t v = 0; v < 133; ++v) {
        double sum = 0.0;
        for (int64_t k = 0; k < 20; ++k) sum += element(p.x, r * 20 + k) * element(p.matrix, v * 20 + k);
        expected.push_back(sum);
      }
    check_close(to_doubles(logits), expected, 1e-6, 1e-6);
  });
}

TEST_CASE("cross_entropy of given logits: mean loss, gradient by finite differences, logits untouched") {
  const auto arena = test_arena();
  const std::vector<int32_t> targets = {3, 0, 18, 18};
  const Tensor z = random_tensor(arena, {4, 19}, DType::f32, 9, -4.0, 4.0);
  const Doubles before = to_doubles(z);
  const auto loss = [&](const Doubles& v) {
    double total = 0.0;
    for (size_t r = 0; r < 4; ++r) {
      double sum = 0.0;
      for (size_t i = 0; i < 19; ++i) sum += std::exp(v[r * 19 + i]);
      total += std::log(sum) - v[r * 19 + static_cast<size_t>(targets[r])];
    }
    return total / 4.0;
  };
  Doubles gradient = numeric_gradient(loss, before);
  for (double& value : gradient) value *= 0.5;
  on_every_device([&] {
    Tape tape(device_arena(), Tape::Mode::training);
    const Var logits = leaf(placed(z));
    const Var mean = cross_entropy(tape, logits, targets.data());
    check_close(to_doubles(mean.value()), {loss(before)}, 1e-6, 0.0);
    tape.backward(mean, placed(from_doubles(arena, {1}, DType::f32, {0.5})));
    check_close(to_doubles(logits.grad()), gradient, 1e-5, 1e-7);
    CHECK(to_doubles(logits.value()) == before);
  });
}

TEST_CASE("wrong arguments of the head and its loss give error codes") {
  Problem p(4, 3, 5, 1, DType::f32, DType::f32);
  const auto code_with = [&](auto&& change) {
    Problem changed = p;
    change(changed);
    return error_code([&] { run(changed); });
  };
  CHECK(code_with([](Problem&) {}) == "");
  CHECK(code_with([](Problem& q) { q.x = random_tensor(q.arena, {4, 2}, DType::f32, 1); }) == "ERR_SHAPE");
  CHECK(code_with([](Problem& q) { q.x = random_tensor(q.arena, {12}, DType::f32, 1); }) == "ERR_SHAPE");
  CHECK(code_with([](Problem& q) { q.x = random_tensor(q.arena, {4, 3}, DType::f16, 1); }) == "ERR_DTYPE");
  CHECK(code_with([](Problem& q) { q.rows[3] = 4; }) == "ERR_ARGUMENT");
  CHECK(code_with([](Problem& q) { q.rows[0] = -1; }) == "ERR_ARGUMENT");
  CHECK(code_with([](Problem& q) { q.rows[1] = q.rows[0]; }) == "ERR_ARGUMENT");
  CHECK(code_with([](Problem& q) { q.targets[2] = 5; }) == "ERR_ARGUMENT");
  CHECK(code_with([](Problem& q) { q.targets[2] = -1; }) == "ERR_ARGUMENT");
  CHECK(code_with([](Problem& q) { q.x = {}; }) == "ERR_ARGUMENT");

  Tape tape(p.arena, Tape::Mode::training), other(p.arena, Tape::Mode::training);
  const Weight head = Weight::of(p.matrix);
  const int32_t rows[] = {4}, targets[] = {0, 1, 2, 5};
  CHECK(error_code([&] { head_cross_entropy(tape, p.x, Weight{}, p.loss_rows()); }) == "ERR_ARGUMENT");
  CHECK(error_code([&] { head_logits(tape, p.x, head, 1, rows); }) == "ERR_ARGUMENT");
  const Tensor z = random_tensor(p.arena, {4, 5}, DType::f32, 1);
  CHECK(error_code([&] { cross_entropy(tape, z, targets); }) == "ERR_ARGUMENT");
  CHECK(error_code([&] { cross_entropy(tape, z.reshaped({20}), targets); }) == "ERR_SHAPE");
  CHECK(error_code([&] {
          cross_entropy(tape, random_tensor(p.arena, {4, 5}, DType::bf16, 1), targets);
        }) == "ERR_DTYPE");
  const int32_t fine[] = {0, 1, 2, 3};
  const Var foreign = cross_entropy(other, leaf(z), fine);
  const Var of_other(z, foreign.slot());
  CHECK(error_code([&] { cross_entropy(tape, of_other, fine); }) == "ERR_FOREIGN");
  CHECK(error_code([&] { head_cross_entropy(tape, Var(p.x, foreign.slot()), head, p.loss_rows()); }) == "ERR_FOREIGN");
  std::atomic<bool> stop{true};
  tape.set_cancel_flag(&stop);
  CHECK(error_code([&] { head_cross_entropy(tape, p.x, head, p.loss_rows()); }) == "ERR_ABORTED");
}
