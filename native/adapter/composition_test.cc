// Two adapters that this package does not ship, declared through the interface alone: LoRA as a `branch` (Hu et al.
// 2021) and ETHER as an `input` (Bini et al. 2024). Their gradients against central differences of the whole model's
// loss.
#include <cmath>

#include "adapter/site.h"
#include "doctest/doctest.h"
#include "model/test_model.h"
#include "ops/cross_entropy/cross_entropy.h"
#include "ops/elementwise/elementwise.h"
#include "ops/linear/linear.h"

using namespace rubricate;
using namespace rubricate::testing;

namespace {

// The same parts at one site of every layer.
class EveryLayer : public AdapterSet {
 public:
  EveryLayer(Site site, SiteParts parts) : site_(site), parts_(std::move(parts)) {}
  const SiteParts* at(int64_t, Site site) const override { return site == site_ ? &parts_ : nullptr; }

 private:
  Site site_;
  SiteParts parts_;
};

Weight trainable(const Tensor& matrix) {
  Weight weight = Weight::of(matrix);
  weight.gradient = std::make_shared<GradSlot>();
  weight.gradient->shape = matrix.shape();
  return weight;
}

SiteParts lora(const Weight& a, const Weight& b) {
  SiteParts parts;
  parts.trains = true;
  parts.branch = [a, b](Tape& tape, const Var& x) {
    const Var down = linear(tape, x, a, {}, DType::f32);
    return scale_by(tape, linear(tape, down, b, {}, DType::f32), 2.0f);
  };
  return parts;
}

// x' = x - 2 (u.x / u.u) u, and its derivative by x and by u, as an op of the adapter's own.
Var reflect(Tape& tape, const Var& x, const Var& u) {
  const int64_t rows = x.value().rows(), width = x.value().cols();
  const float* direction = u.value().data<float>();
  double square = 0.0;
  for (int64_t j = 0; j < width; ++j) square += static_cast<double>(direction[j]) * static_cast<double>(direction[j]);
  const auto along = [=](const float* row) {
    double dot = 0.0;
    for (int64_t j = 0; j < width; ++j) dot += static_cast<double>(row[j]) * static_cast<double>(direction[j]);
    return dot;
  };
  const auto reflected = [=](Tape& t, const Tensor& in) {
    Tensor out = t.empty(in.shape(), DType::f32);
    for (int64_t r = 0; r < rows; ++r) {
      const float* row = in.data<float>() + r * width;
      const double p = along(row);
      for (int64_t j = 0; j < width; ++j)
        out.data<float>()[r * width + j] = static_cast<float>(row[j] - 2.0 * p / square * direction[j]);
    }
    return out;
  };
  Tensor out = reflected(tape, x.value());
  if (!tape.wants_grad(x, u)) return out;
  return tape.record(
      "reflect", out, [=, in = x.value(), x_slot = x.slot(), u_slot = u.slot()](Tape& t, const Tensor& grad) {
        t.accumulate(x_slot, reflected(t, grad));
        float* gradient = t.parameter_grad(u_slot).data<float>();
        for (int64_t r = 0; r < rows; ++r) {
          const float *row = in.data<float>() + r * width, *g = grad.data<float>() + r * width;
          const double p = along(row), q = along(g);
          for (int64_t j = 0; j < width; ++j)
            gradient[j] +=
                static_cast<float>(-2.0 / square * (q * row[j] + p * g[j] - 2.0 * p * q / square * direction[j]));
        }
      });
}

double loss_of(const Model& model, const AdapterSet& adapters, bool recompute, bool backward) {
  const auto tokens = tiny_tokens(37, 3);
  const Batch batch = Batch::make(tokens, {0, 20, 37}, {}, {});
  std::vector<int32_t> rows, targets;
  for (int32_t i = 0; i < 36; ++i)
    if (i != 19) {
      rows.push_back(i);
      targets.push_back(tokens[static_cast<size_t>(i) + 1]);
    }
  const std::vector<float> weights(rows.size(), 1.0f / 35.0f);
  Tape tape(test_arena(), backward ? Tape::Mode::training : Tape::Mode::inference);
  const Var hidden = model.forward(tape, batch, &adapters, recompute, nullptr);
  const CrossEntropy result = head_cross_entropy(
      tape, hidden, model.head(), {static_cast<int64_t>(rows.size()), rows.data(), targets.data(), weights.data()});
  double loss = 0.0;
  for (const float nats : result.row_loss) loss += static_cast<double>(nats) / 35.0;
  if (backward) tape.backward(result.loss);
  return loss;
}

// The derivative along the gradient itself: the norm of the gradient, by differences and by the tape.
void check_gradient(const Model& model, const AdapterSet& adapters, const Tensor& parameter, GradSlot& slot) {
  slot.grad = {};
  loss_of(model, adapters, false, true);
  const Doubles gradient = to_doubles(slot.grad);
  slot.grad = {};
  loss_of(model, adapters, true, true);
  CHECK(to_doubles(slot.grad) == gradient);  // recomputed = stored
  double norm = 0.0;
  for (const double g : gradient) norm += g * g;
  norm = std::sqrt(norm);
  REQUIRE(norm > 1e-3);
  const Doubles before = to_doubles(parameter);
  const auto at = [&](double step) {
    for (size_t i = 0; i < before.size(); ++i)
      parameter.data<float>()[i] = static_cast<float>(before[i] + step * gradient[i] / norm);
    return loss_of(model, adapters, false, false);
  };
  const double step = 5e-3;
  const double numeric = (8.0 * (at(step) - at(-step)) - (at(2 * step) - at(-2 * step))) / (12.0 * step);
  at(0.0);
  CHECK(numeric == doctest::Approx(norm).epsilon(3e-3));
}

}  // namespace

TEST_CASE("a LoRA branch composes with the block and gets the right gradients") {
  const auto model = tiny_model({});
  const auto arena = test_arena();
  const Weight a = trainable(random_tensor(arena, {3, 24}, DType::f32, 31)),
               b = trainable(random_tensor(arena, {24, 3}, DType::f32, 32));
  const EveryLayer adapters(Site::q_proj, lora(a, b));
  check_gradient(*model, adapters, a.storage, *a.gradient);
  check_gradient(*model, adapters, b.storage, *b.gradient);
  const Weight c = trainable(random_tensor(arena, {3, 40}, DType::f32, 33));
  const EveryLayer closing(Site::down_proj, lora(c, b));
  check_gradient(*model, closing, c.storage, *c.gradient);
}

TEST_CASE("an ETHER input composes with the block and gets the right gradients") {
  const auto model = tiny_model({});
  for (const auto& [site, width] : {std::pair{Site::v_proj, int64_t{24}}, std::pair{Site::down_proj, int64_t{40}}}) {
    const Var u = Var::parameter(random_tensor(test_arena(), {width}, DType::f32, 34));
    SiteParts parts;
    parts.trains = true;
    parts.input = [u](Tape& tape, const Var& x) { return reflect(tape, x, u); };
    const EveryLayer adapters(site, parts);
    check_gradient(*model, adapters, u.value(), *u.slot());
  }
}
