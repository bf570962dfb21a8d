#include "ops/steps/steps.h"

#include "tests/test_support.h"

using namespace rubricate;
using namespace rubricate::testing;

namespace {

constexpr int64_t kInputs = 20, kInner = 6, kOutputs = 14;

struct Matrices {
  Matrices() {
    const auto arena = test_arena();
    const auto parameter = [&](Shape shape, uint64_t seed) {
      return Var::parameter(placed(random_tensor(arena, std::move(shape), DType::f32, seed)));
    };
    a = parameter({kInner, kInputs}, 1);
    scale = parameter({kInner}, 2);
    bias = parameter({kInner}, 3);
    blocks = parameter({2, kOutputs / 2, kInner / 2}, 4);
    back = parameter({kInputs, kInner}, 5);
  }
  std::vector<Var> all() const { return {a, scale, bias, blocks, back}; }
  Var a, scale, bias, blocks, back;
};

SiteStep step(StepKind kind, const Var& weight = {}) {
  SiteStep own;
  own.kind = kind;
  own.weight = weight;
  return own;
}

SiteStep affine(const Var& scale, const Var& bias) {
  SiteStep own = step(StepKind::affine);
  own.scale = scale;
  own.bias = bias;
  return own;
}

SiteStep times(float by) {
  SiteStep own = step(StepKind::scale);
  own.by = by;
  return own;
}

SiteStep activation_step(Activation activation) {
  SiteStep own = step(StepKind::activation);
  own.activation = activation;
  return own;
}

// A branch of all kinds of steps but the residual; and a list that ends as wide as it begins.
SlotSteps branch_of(const Matrices& own, Activation activation) {
  SlotSteps slots{std::vector<std::shared_ptr<const SiteSteps>>(3)};
  slots.slots[2] = std::make_shared<const SiteSteps>(SiteSteps{
      step(StepKind::linear, own.a),
      affine(own.scale, own.bias),
      activation_step(activation),
      step(StepKind::block_linear, own.blocks),
      times(0.75f),
  });
  return slots;
}

SlotSteps replacing(const Matrices& own) {
  SlotSteps slots{std::vector<std::shared_ptr<const SiteSteps>>(3)};
  slots.slots[2] = std::make_shared<const SiteSteps>(SiteSteps{
      step(StepKind::linear, own.a),
      activation_step(Activation::silu),
      step(StepKind::linear, own.back),
      step(StepKind::residual),
  });
  return slots;
}

double activated(double v, Activation kind) {
  if (kind == Activation::silu) return v / (1.0 + std::exp(-v));
  if (kind == Activation::relu) return std::max(v, 0.0);
  if (kind == Activation::tanh) return std::tanh(v);
  if (kind == Activation::gelu) return v * 0.5 * (1.0 + std::erf(v / std::sqrt(2.0)));
  const double u = std::sqrt(2.0 / 3.14159265358979323846) * (v + 0.044715 * v * v * v);
  return 0.5 * v * (1.0 + std::tanh(u));
}

// W v for W of `rows` rows, from `first` on.
Doubles product(const Doubles& w, size_t first, size_t rows, const Doubles& v) {
  Doubles out(rows);
  for (size_t r = 0; r < rows; ++r)
    for (size_t k = 0; k < v.size(); ++k) out[r] += w[first + r * v.size() + k] * v[k];
  return out;
}

// Numbers of a row, of all parameters.
using Parameters = std::vector<Doubles>;

Doubles branch_row(const Parameters& p, const Doubles& x, Activation kind) {
  Doubles v = product(p[0], 0, kInner, x), out;
  for (size_t i = 0; i < v.size(); ++i) v[i] = activated(p[1][i] * v[i] + p[2][i], kind);
  for (size_t b = 0; b < 2; ++b) {
    const Doubles part(v.begin() + static_cast<int64_t>(3 * b), v.begin() + static_cast<int64_t>(3 * b) + 3);
    for (const double value : product(p[3], b * 21, 7, part)) out.push_back(0.75 * value);
  }
  return out;
}

Doubles replaced_row(const Parameters& p, const Doubles& x) {
  Doubles v = product(p[0], 0, kInner, x);
  for (double& value : v) value = activated(value, Activation::silu);
  Doubles out = product(p[4], 0, kInputs, v);
  for (size_t i = 0; i < out.size(); ++i) out[i] += x[i];
  return out;
}

Doubles row_of(const Doubles& matrix, int64_t row, int64_t cols) {
  const auto begin = matrix.begin() + row * cols;
  return {begin, begin + cols};
}

// Rows 3 to 8 and 12 are those of slot 2, which has the steps.
const std::vector<std::pair<int32_t, int32_t>> kSequences = {{3, 0}, {2, 2}, {4, 2}, {3, 1}, {1, 2}};
bool is_own(int64_t row) { return (row >= 3 && row < 9) || row == 12; }

// Compares gradients of sum(g * out) over the slot's rows with central differences.
void check_gradients(const Matrices& own, const Doubles& x, const Doubles& g, int64_t width,
                     const std::function<Doubles(const Parameters&, const Doubles&)>& row, const Tensor& dx,
                     size_t parameters) {
  Parameters values;
  for (const Var& var : own.all()) values.push_back(to_doubles(var.value()));
  const auto loss = [&](const Parameters& p, const Doubles& inputs) {
    double sum = 0.0;
    for (int64_t t = 0; t < 13; ++t) {
      if (!is_own(t)) continue;
      const Doubles out = row(p, row_of(inputs, t, kInputs));
      for (int64_t j = 0; j < width; ++j) sum += out[static_cast<size_t>(j)] * g[static_cast<size_t>(t * width + j)];
    }
    return sum;
  };
  for (size_t i = 0; i < parameters; ++i) {
    CAPTURE(i);
    const Tensor& grad = own.all()[i].grad();
    if (!grad.defined()) continue;
    const Doubles numeric = numeric_gradient(
        [&](const Doubles& changed) {
          Parameters p = values;
          p[i] = changed;
          return loss(p, x);
        },
        values[i]);
    check_close(to_doubles(grad), numeric, 1e-4, 1e-4);
  }
  check_close(to_doubles(dx), numeric_gradient([&](const Doubles& changed) { return loss(values, changed); }, x), 1e-4,
              1e-4);
}

}  // namespace

TEST_CASE("steps of a branch: values, gradients, and rows of other slots keep their bits") {
  on_every_device([] {
    for (const auto& [kind, name] : kActivationNames) {
      CAPTURE(name);
      const Matrices own;
      const TestRows rows(kSequences);
      const Tensor x = placed(random_tensor(test_arena(), {13, kInputs}, DType::f32, 7));
      const Tensor y = placed(random_tensor(test_arena(), {13, kOutputs}, DType::f32, 8));
      const Tensor g = placed(random_tensor(test_arena(), {13, kOutputs}, DType::f32, 9));
      Tape tape(device_arena(), Tape::Mode::training);
      const Var x_leaf = leaf(x), y_leaf = leaf(y);
      const Var out = add_steps(tape, y_leaf, x_leaf, branch_of(own, kind), rows.view());
      const Doubles got = to_doubles(out.value()), before = to_doubles(y);
      Parameters values;
      for (const Var& var : own.all()) values.push_back(to_doubles(var.value()));
      for (int64_t t = 0; t < 13; ++t) {
        Doubles expected = row_of(before, t, kOutputs);
        if (!is_own(t)) {
          CHECK(row_of(got, t, kOutputs) == expected);
          continue;
        }
        const Doubles added = branch_row(values, row_of(to_doubles(x), t, kInputs), kind);
        for (size_t j = 0; j < expected.size(); ++j) expected[j] += added[j];
        check_close(row_of(got, t, kOutputs), expected, 1e-5, 1e-5);
      }
      tape.backward(out, g);
      CHECK(same_bits(y_leaf.grad(), g));
      check_gradients(
          own, to_doubles(x), to_doubles(g), kOutputs,
          [&](const Parameters& p, const Doubles& row) { return branch_row(p, row, kind); }, x_leaf.grad(), 4);
    }
  });
}

TEST_CASE("steps in place of a value: values, gradients, and rows of other slots keep their bits") {
  on_every_device([] {
    const Matrices own;
    const TestRows rows(kSequences);
    const Tensor x = placed(random_tensor(test_arena(), {13, kInputs}, DType::f32, 7));
    const Tensor g = placed(random_tensor(test_arena(), {13, kInputs}, DType::f32, 9));
    Tape tape(device_arena(), Tape::Mode::training);
    const Var x_leaf = leaf(x);
    const Var out = apply_steps(tape, x_leaf, replacing(own), rows.view());
    Parameters values;
    for (const Var& var : own.all()) values.push_back(to_doubles(var.value()));
    const Doubles got = to_doubles(out.value());
    tape.backward(out, g);
    const Doubles dx = to_doubles(x_leaf.grad()), seed = to_doubles(g);
    Doubles own_dx = dx;
    for (int64_t t = 0; t < 13; ++t) {
      const Doubles row = row_of(to_doubles(x), t, kInputs);
      if (is_own(t)) {
        check_close(row_of(got, t, kInputs), replaced_row(values, row), 1e-5, 1e-5);
        continue;
      }
      CHECK(row_of(got, t, kInputs) == row);
      CHECK(row_of(dx, t, kInputs) == row_of(seed, t, kInputs));
      for (int64_t j = 0; j < kInputs; ++j) own_dx[static_cast<size_t>(t * kInputs + j)] = 0.0;
    }
    check_gradients(
        own, to_doubles(x), seed, kInputs,
        [&](const Parameters& p, const Doubles& row) { return replaced_row(p, row); },
        from_doubles(test_arena(), {13, kInputs}, DType::f32, own_dx), 5);
  });
}

TEST_CASE("steps of a row have the same bits alone, among others and in every dtype's batch") {
  on_every_setting([] {
    const Matrices own;
    for (const DType dtype : {DType::f32, DType::bf16}) {
      const TestRows rows(kSequences), one({{1, 2}});
      const Tensor x = random_tensor(test_arena(), {13, kInputs}, dtype, 7);
      Tape tape(device_arena(), Tape::Mode::inference);
      const Tensor all = apply_steps(tape, x, replacing(own), rows.view()).value();
      CHECK(all.dtype() == dtype);
      for (const int64_t row : {3, 6, 12}) {
        const Tensor alone = copy_rows(test_arena(), x, row, row + 1);
        const Tensor got = apply_steps(tape, alone, replacing(own), one.view()).value();
        CHECK(same_bits(got, copy_rows(test_arena(), all, row, row + 1)));
      }
    }
  });
}

TEST_CASE("mix_initial: values and gradients; the embedding's output gets none") {
  on_every_device([] {
    SiteStep mix = step(StepKind::mix_initial);
    mix.by = 0.25f;
    const SlotSteps slots{
        {nullptr, nullptr, std::make_shared<const SiteSteps>(SiteSteps{mix, step(StepKind::residual)})}};
    for (const DType dtype : {DType::f32, DType::bf16}) {
      const TestRows rows(kSequences);
      const Tensor x = placed(random_tensor(test_arena(), {13, kInputs}, DType::f32, 7));
      const Tensor h = placed(random_tensor(test_arena(), {13, kInputs}, dtype, 8));
      const Tensor g = placed(random_tensor(test_arena(), {13, kInputs}, DType::f32, 9));
      Tape tape(device_arena(), Tape::Mode::training);
      const Var x_leaf = leaf(x);
      const Var out = apply_steps(tape, x_leaf, slots, rows.view(), h);  // mixed, plus x
      tape.backward(out, g);
      const Doubles got = to_doubles(out.value()), dx = to_doubles(x_leaf.grad());
      const Doubles before = to_doubles(x), initial = to_doubles(h), seed = to_doubles(g);
      for (int64_t t = 0; t < 13; ++t)
        for (int64_t j = 0; j < kInputs; ++j) {
          const auto at = static_cast<size_t>(t * kInputs + j);
          const bool mixed = is_own(t);
          CHECK(got[at] == doctest::Approx(mixed ? 1.75 * before[at] + 0.25 * initial[at] : before[at]).epsilon(1e-6));
          CHECK(dx[at] == doctest::Approx(mixed ? 1.75 * seed[at] : seed[at]).epsilon(1e-6));
        }
    }
    Tape tape(device_arena(), Tape::Mode::inference);
    const TestRows rows(kSequences);
    const auto code = [&](const Tensor& initial) {
      const Tensor x = placed(random_tensor(test_arena(), {13, kInputs}, DType::f32, 7));
      return thrown([&] { apply_steps(tape, x, slots, rows.view(), initial); }).first;
    };
    CHECK(code({}) == "ERR_SHAPE");
    CHECK(code(placed(random_tensor(test_arena(), {13, kInputs + 4}, DType::f32, 8))) == "ERR_SHAPE");
    CHECK(code(placed(random_tensor(test_arena(), {12, kInputs}, DType::f32, 8))) == "ERR_SHAPE");
  });
}

TEST_CASE("steps that do not fit are refused") {
  const Matrices own;
  const TestRows rows(kSequences);
  Tape tape(test_arena(), Tape::Mode::inference);
  const Tensor x = random_tensor(test_arena(), {13, kInputs}, DType::f32, 7);
  const auto code = [&](auto&& body) { return thrown(body).first; };
  CHECK(code([&] { apply_steps(tape, x, branch_of(own, Activation::gelu), rows.view()); }) == "ERR_SHAPE");
  CHECK(code([&] { add_steps(tape, x, x, branch_of(own, Activation::gelu), rows.view()); }) == "ERR_SHAPE");
  const Tensor narrow = random_tensor(test_arena(), {13, 3}, DType::f32, 7);
  CHECK(code([&] { apply_steps(tape, narrow, replacing(own), rows.view()); }) == "ERR_SHAPE");
  SlotSteps few = replacing(own);
  few.slots.resize(2);
  CHECK(code([&] { apply_steps(tape, x, few, rows.view()); }) == "ERR_ARGUMENT");
}
