// Derived values that are products with a weight of the base: against double, and the same bits with every number of threads.
#include "adapter/weight_products.h"

#include "adapter/adapter_version.h"
#include "adapter/derived.h"
#include "doctest/doctest.h"
#include "tests/derived_plan.h"

using namespace rubricate;
using namespace rubricate::testing;

namespace {

double activated_as(Activation activation, double x) {
  return activation == Activation::silu ? x / (1.0 + std::exp(-x)) : 0.5 * x * (1.0 + std::erf(x / std::sqrt(2.0)));
}

// The derived values of weights_plan() in double, and the sum of them times `weights`.
double reference(const Model& model, const AdapterPlan& plan, const Doubles& values, const Doubles& weights,
                 Doubles& derived) {
  derived.clear();
  for (const PlanDerived& own : plan.derived) {
    if (own.kind == DerivedKind::activation) {
      const auto begin = static_cast<size_t>(plan.offset(own.operands[0].index) - plan.count);
      for (int64_t i = 0; i < element_count(own.shape); ++i)
        derived.push_back(activated_as(own.activation, derived[begin + static_cast<size_t>(i)]));
      continue;
    }
    const Doubles w = to_doubles(model.linear_weight(own.layer, own.site).storage);
    const int64_t outputs = site_width(model.architecture(), own.site),
                  inputs = site_inputs(model.architecture(), own.site);
    const int64_t summed = own.along_outputs ? outputs : inputs, kept = own.along_outputs ? inputs : outputs;
    const int64_t rows = operand_shape(plan, own.operands[0])[0];
    Doubles product(static_cast<size_t>(rows * kept), 0.0);
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t n = 0; n < kept; ++n)
        for (int64_t k = 0; k < summed; ++k) {
          const double d = values[static_cast<size_t>(plan.offset(own.operands[0].index) + r * summed + k)];
          const int64_t place = own.along_outputs ? k * inputs + n : n * inputs + k;
          product[static_cast<size_t>(own.transposed ? n * rows + r : r * kept + n)] +=
              d * w[static_cast<size_t>(place)];
        }
    derived.insert(derived.end(), product.begin(), product.end());
  }
  double sum = 0.0;
  for (size_t i = 0; i < weights.size(); ++i) sum += weights[i] * derived[i];
  return sum;
}

}  // namespace

TEST_CASE("products with the base's weights, and their gradients, are those of double, wherever the model is") {
  for (const DType stored : {DType::f32, DType::bf16})
    on_every_device([&] {
      const auto model = tiny_model({}, stored, stored);
      const AdapterPlan plan = weights_plan(model->architecture());
      const WeightProducts products(model.get(), {nullptr, {}, device_arena()});
      const std::vector<float> values = rounded(random_numbers(plan.count, 5)),
                               above = rounded(random_numbers(plan.derived_count, 6));
      const Doubles exact(values.begin(), values.end()), weights(above.begin(), above.end());
      std::vector<float> derived(static_cast<size_t>(plan.derived_count)),
          gradients(static_cast<size_t>(plan.count), 0.5f);
      derive(plan, values.data(), derived.data(), products);
      Doubles expected;
      reference(*model, plan, exact, weights, expected);
      CHECK(max_error({derived.begin(), derived.end()}, expected) < 1e-6);
      derive_backward(plan, values.data(), derived.data(), above.data(), gradients.data(), products);
      for (size_t i = 0; i < exact.size(); i += 7) {
        const auto loss = [&](double change) {
          Doubles changed = exact, made;
          changed[i] += change;
          return reference(*model, plan, changed, weights, made);
        };
        const double slope = (loss(1e-4) - loss(-1e-4)) / 2e-4;
        CHECK(std::fabs(static_cast<double>(gradients[i]) - 0.5 - slope) < 2e-6);
      }
    });
}

TEST_CASE("products with the base's weights have the same bits with every number of threads") {
  TinyConfig config;
  config.hidden = 96, config.head_dim = 24, config.feed_forward = 3000;
  const auto model = tiny_model(config);
  const AdapterPlan plan = weights_plan(model->architecture());
  const WeightProducts products(model.get(), {nullptr, {}, test_arena()});
  const std::vector<float> values = rounded(random_numbers(plan.count, 7)),
                           above = rounded(random_numbers(plan.derived_count, 8));
  on_every_path([&] {
    std::vector<float> first, first_gradients;
    for (const int threads : {1, 2, 3}) {
      const PoolSize size(threads);
      std::vector<float> derived(static_cast<size_t>(plan.derived_count)), gradients(static_cast<size_t>(plan.count));
      derive(plan, values.data(), derived.data(), products);
      derive_backward(plan, values.data(), derived.data(), above.data(), gradients.data(), products);
      if (first.empty()) {
        first = derived;
        first_gradients = gradients;
      }
      CHECK(derived == first);
      CHECK(gradients == first_gradients);
    }
  });
}

TEST_CASE("products with the base's weights need a model, and stop when the job is cancelled") {
  const auto model = tiny_model({});
  const auto adapter = random_weights(*model, 3);
  CHECK(adapter->plan()->reads_weights());
  CHECK(error_code([&] { AdapterVersion::of(*adapter); }) == "ERR_INTERNAL");
  const std::atomic<bool> cancelled{true};
  CHECK(error_code([&] {
          AdapterVersion::of(*adapter, {model.get(), {&cancelled, {}, test_arena()}});
        }) == "ERR_ABORTED");
  const WeightProducts stopped(model.get(), {&cancelled, {}, test_arena()});
  std::vector<float> dp(3 * 24), dd(3 * 12);
  stopped.backward(adapter->plan()->derived[0], 3, dp.data(), dd.data());  // after the last backward: goes on
  int yields = 0;
  AdapterVersion::of(*adapter, {model.get(), {nullptr, [&] { ++yields; }, test_arena()}});
  CHECK(yields == 6);  // one for each product
}
