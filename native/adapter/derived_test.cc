#include "adapter/derived.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>

#include "adapter/adapter_version.h"
#include "adapter/einsum.h"
#include "doctest/doctest.h"
#include "ops/adamw/adamw.h"
#include "tests/derived_plan.h"

using namespace rubricate;
using namespace rubricate::testing;

namespace {

// All letters at once, from the definition.
Doubles naive_einsum(const std::vector<EinsumTerm>& operands, const std::string& axes, const EinsumSizes& sizes) {
  std::string letters = axes;
  for (const EinsumTerm& operand : operands) letters = joined_axes(letters, operand.axes);
  const auto index = [&](const std::string& of, const std::map<char, int64_t>& at) {
    int64_t place = 0;
    for (const char letter : of) place = place * sizes.of(letter) + at.at(letter);
    return static_cast<size_t>(place);
  };
  int64_t count = 1, all = 1;
  for (const char letter : axes) count *= sizes.of(letter);
  for (const char letter : letters) all *= sizes.of(letter);
  Doubles result(static_cast<size_t>(count), 0.0);
  for (int64_t n = 0; n < all; ++n) {
    std::map<char, int64_t> at;
    int64_t rest = n;
    for (const char letter : letters) at[letter] = rest % sizes.of(letter), rest /= sizes.of(letter);
    double product = 1.0;
    for (const EinsumTerm& operand : operands) product *= operand.values[index(operand.axes, at)];
    result[index(axes, at)] += product;
  }
  return result;
}

struct Equation {
  std::vector<std::string> operands;
  std::string result;
};

// A copy, a transposition, sums over letters of one operand and of two, an outer product, a scalar, a tensor train, LoRTA's.
const std::vector<Equation> kEquations = {{{"ab"}, "ab"},        {{"ab"}, "ba"},
                                          {{"abc"}, "b"},        {{"ab", "bc"}, "ac"},
                                          {{"ab"}, ""},          {{"", "ab"}, "ab"},
                                          {{"ab", "cd"}, "dac"}, {{"ap", "pbq", "qcr", "rd"}, "abcd"},
                                          {{"a"}, "a"},          {{"hr", "r", "r", "rj"}, "hjr"},
                                          {{"ab", "ab"}, "b"},   {{"d", "rd"}, "r"}};

std::vector<EinsumTerm> terms_of(const Equation& equation, EinsumSizes& sizes) {
  for (char letter = 'a'; letter <= 'z'; ++letter) sizes.of(letter) = 2 + (letter * 7) % 4;
  std::vector<EinsumTerm> terms;
  for (const std::string& axes : equation.operands) {
    int64_t count = 1;
    for (const char letter : axes) count *= sizes.of(letter);
    terms.push_back({axes, random_numbers(count, 40 + terms.size())});
  }
  return terms;
}

double dot(const Doubles& a, const Doubles& b) {
  double sum = 0.0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

// The derived values in double, from the formulas of plan_derived.h, with all axes of a value at once.
Doubles reference(const AdapterPlan& plan, const Doubles& values) {
  Doubles derived;
  for (const PlanDerived& own : plan.derived) {
    EinsumSizes sizes;
    std::vector<EinsumTerm> terms;
    for (const PlanDerived::Operand& operand : own.operands) {
      const Shape shape = operand_shape(plan, operand);
      Doubles all;
      if (operand.constant)
        all = {plan.constants.values->begin(), plan.constants.values->end()};
      else {
        all = values;
        all.insert(all.end(), derived.begin(), derived.end());
        all.erase(all.begin(), all.begin() + plan.offset(operand.index));
      }
      const int64_t count = element_count(shape), begin = std::max<int64_t>(operand.row, 0) * count;
      terms.push_back({operand.axes, {all.begin() + begin, all.begin() + begin + count}});
      for (size_t i = 0; i < operand.axes.size(); ++i) sizes.of(operand.axes[i]) = shape[i];
    }
    Doubles made = own.kind == DerivedKind::einsum ? naive_einsum(terms, own.axes, sizes) : terms[0].values;
    if (own.kind == DerivedKind::activation)
      for (double& value : made) value = value / (1.0 + std::exp(-value));  // silu
    if (own.kind == DerivedKind::unit) {
      const Shape shape = operand_shape(plan, own.operands[0]);
      const auto width = static_cast<size_t>(shape[2]), vectors = static_cast<size_t>(shape[1]);
      Doubles given = made;
      for (size_t i = 0; i < made.size(); ++i) {
        double square = 0.0;
        for (size_t k = 0; k < width; ++k) square += given[i / width * width + k] * given[i / width * width + k];
        const size_t row = i / width % vectors, block = i / (width * vectors), column = i % width;
        const double factor = own.factors.empty() ? 1.0 : static_cast<double>(own.factors[row]);
        const size_t place = own.transposed ? (block * width + column) * vectors + row : i;
        made[place] = factor * given[i] / std::sqrt(square);
      }
    }
    derived.insert(derived.end(), made.begin(), made.end());
  }
  return derived;
}

}  // namespace

TEST_CASE("einsum is the sum over all letters, and its gradients are those of central differences") {
  for (const Equation& equation : kEquations) {
    CAPTURE(equation.result);
    EinsumSizes sizes;
    std::vector<EinsumTerm> terms = terms_of(equation, sizes);
    const Doubles expected = naive_einsum(terms, equation.result, sizes);
    const EinsumTerm got = einsum(terms, equation.result, sizes);
    CHECK(got.axes == equation.result);
    REQUIRE(got.values.size() == expected.size());
    CHECK(max_error(got.values, expected) < 1e-13);
    const Doubles weights = random_numbers(static_cast<int64_t>(expected.size()), 3);
    const auto gradients = einsum_backward(terms, {equation.result, weights}, sizes);
    for (size_t k = 0; k < terms.size(); ++k)
      for (size_t i = 0; i < terms[k].values.size(); ++i) {
        const double at = terms[k].values[i], step = 1e-3;
        const auto loss = [&](double value) {
          terms[k].values[i] = value;
          return dot(naive_einsum(terms, equation.result, sizes), weights);
        };
        const double slope = (loss(at + step) - loss(at - step)) / (2.0 * step);  // exact: linear in each number
        terms[k].values[i] = at;
        CHECK(gradients[k].values[i] == doctest::Approx(slope).epsilon(1e-9));
      }
  }
}

TEST_CASE("derived values are those of a double reference, and their gradients those of its central differences") {
  const AdapterPlan plan = derived_plan();
  const std::vector<float> values = rounded(random_numbers(plan.count, 5));
  const Doubles exact(values.begin(), values.end());
  std::vector<float> derived(static_cast<size_t>(plan.derived_count));
  derive(plan, values.data(), derived.data());
  CHECK(max_error({derived.begin(), derived.end()}, reference(plan, exact)) < 1e-6);
  const Doubles weights = random_numbers(plan.derived_count, 6);
  const std::vector<float> above = rounded(weights);
  std::vector<float> gradients(static_cast<size_t>(plan.count), 0.5f);
  derive_backward(plan, values.data(), derived.data(), above.data(), gradients.data());
  for (size_t i = 0; i < exact.size(); ++i) {
    const auto loss = [&](double change) {
      Doubles changed = exact;
      changed[i] += change;
      return dot(reference(plan, changed), {above.begin(), above.end()});
    };
    const double slope = (loss(1e-5) - loss(-1e-5)) / 2e-5;
    CHECK(static_cast<double>(gradients[i]) - 0.5 == doctest::Approx(slope).epsilon(1e-5));
  }
}

TEST_CASE("activations of derived values are those of torch, with their slopes") {
  const struct {
    const char* name;
    double (*f)(double);
  } cases[] = {{"gelu", [](double x) { return 0.5 * x * (1.0 + std::erf(x / std::sqrt(2.0))); }},
               {"gelu_tanh",
                [](double x) {
                  return 0.5 * x * (1.0 + std::tanh(std::sqrt(2.0 / std::acos(-1.0)) * (x + 0.044715 * x * x * x)));
                }},
               {"silu", [](double x) { return x / (1.0 + std::exp(-x)); }},
               {"relu", [](double x) { return x > 0.0 ? x : 0.0; }},
               {"tanh", [](double x) { return std::tanh(x); }}};
  for (const auto& [name, f] : cases) {
    CAPTURE(name);
    PlanText text;
    const std::string d = text.derived(
        {24}, concat(R"("kind":"activation","of":)", text.parameter({24}), R"(,"activation":")", name, "\""));
    text.site(0, "down_proj", concat(R"("bias":)", d));
    const AdapterPlan plan = AdapterPlan::parse(text.json());
    std::vector<float> values, derived(24), above(24, 1.0f), gradients(24, 0.0f);
    for (int i = 0; i < 24; ++i) values.push_back(0.37f * static_cast<float>(i - 12) + 0.01f);
    derive(plan, values.data(), derived.data());
    derive_backward(plan, values.data(), derived.data(), above.data(), gradients.data());
    for (size_t i = 0; i < 24; ++i) {
      const auto x = static_cast<double>(values[i]);
      CHECK(static_cast<double>(derived[i]) == doctest::Approx(f(x)).epsilon(1e-6));
      CHECK(static_cast<double>(gradients[i]) == doctest::Approx((f(x + 1e-6) - f(x - 1e-6)) / 2e-6).epsilon(1e-5));
    }
  }
}

TEST_CASE("a vector of zeros stays, without a gradient") {
  PlanText text;
  const std::string of = text.parameter({2, 1, 12});
  const std::string unit = text.derived({2, 1, 12}, concat(R"("kind":"unit","of":)", of));
  const std::string back =
      text.derived({2, 12, 1}, concat(R"("kind":"unit","factors":[-2],"transposed":true,"of":)", of));
  text.site(0, "q_proj",
            concat(R"("input":[{"op":"block_linear","weight":)", unit, R"(},{"op":"block_linear","weight":)", back,
                   R"(},{"op":"residual"}])"));
  const AdapterPlan plan = AdapterPlan::parse(text.json());
  std::vector<float> values(24, 0.0f), derived(48), above(48, 1.0f), gradients(24, 0.0f);
  values[12] = 3.0f, values[13] = 4.0f;
  derive(plan, values.data(), derived.data());
  for (size_t i = 0; i < 12; ++i) CHECK(derived[i] == 0.0f);
  CHECK(derived[12] == 0.6f);
  CHECK(derived[24 + 13] == -1.6f);
  derive_backward(plan, values.data(), derived.data(), above.data(), gradients.data());
  for (size_t i = 0; i < 12; ++i) CHECK(gradients[i] == 0.0f);
  CHECK(gradients[14] != 0.0f);
}

TEST_CASE("large derived values have the same bits with every number of threads") {
  PlanText text;
  const std::string shared = text.parameter({40, 8});
  for (int64_t layer = 0; layer < 3; ++layer) {
    const std::string own = text.parameter({8, 1000});
    text.derived({40, 1000}, concat(R"("kind":"einsum","axes":"ac","operands":[{"axes":"ab","of":)", shared,
                                    R"(},{"axes":"bc","of":)", own, "}]"));
    text.site(layer, "up_proj", concat(R"("branch":[{"op":"linear","weight":{"derived":)", layer, "}}]"));
  }
  // Of the first of them another one is made: it has two gradients.
  const std::string of_first =
      text.derived({40, 1000}, R"("kind":"activation","activation":"silu","of":{"derived":0})");
  text.site(0, "gate_proj", concat(R"("branch":[{"op":"linear","weight":)", of_first, "}]"));
  const AdapterPlan plan = AdapterPlan::parse(text.json());
  const std::vector<float> values = rounded(random_numbers(plan.count, 7)),
                           above = rounded(random_numbers(plan.derived_count, 8));
  std::vector<float> first, first_gradients;
  for (const int threads : {1, 2, 3}) {
    const PoolSize size(threads);
    std::vector<float> derived(static_cast<size_t>(plan.derived_count)), gradients(static_cast<size_t>(plan.count));
    derive(plan, values.data(), derived.data());
    derive_backward(plan, values.data(), derived.data(), above.data(), gradients.data());
    if (first.empty()) {
      first = derived;
      first_gradients = gradients;
    }
    CHECK(derived == first);
    CHECK(gradients == first_gradients);
  }
  const Doubles exact(values.begin(), values.end());
  CHECK(max_error({first.begin(), first.end()}, reference(plan, exact)) < 1e-6);
  for (const size_t i : {size_t{3}, size_t{40 * 8 + 700}}) {  // of the shared parameter, and of the first layer's
    const auto loss = [&](double change) {
      Doubles changed = exact;
      changed[i] += change;
      return dot(reference(plan, changed), {above.begin(), above.end()});
    };
    const double slope = (loss(1e-4) - loss(-1e-4)) / 2e-4;
    CHECK(static_cast<double>(first_gradients[i]) == doctest::Approx(slope).epsilon(1e-4));
  }
}

TEST_CASE("a step with derived values updates the parameters by their gradients, wherever it runs") {
  on_every_device([] {
    const std::shared_ptr<Model> model = tiny_model({});
    const auto adapter = random_derived(*model, 3), expected = random_derived(*model, 3);
    const std::vector<MicroBatch> batches = {tiny_batch({tiny_tokens(9, 1)}, {1}),
                                             tiny_batch({tiny_tokens(5, 2)}, {1})};
    const auto optimizer = std::make_shared<OptimizerState>(*adapter),
               other = std::make_shared<OptimizerState>(*expected);
    for (int64_t step = 1; step <= 2; ++step) {
      trained_step(*model, {{adapter, adapter, optimizer, {}, 0.0}}, batches, false, true,
                   {nullptr, {}, device_arena()});
      for (const Parameter& parameter : adapter->parameters())
        CHECK(max_error(to_doubles(parameter.grad), Doubles(static_cast<size_t>(parameter.grad.count()))) > 0.0);
      adamw_step(expected->values(), adapter->gradients(), other->whole.m, other->whole.v, step, {}, 0.0f, 1.0f);
      CHECK(max_error(to_doubles(adapter->values()), to_doubles(expected->values())) < 1e-6);
    }
  });
}

TEST_CASE("a version has the derived values of the present values, and names one that is not finite") {
  const std::shared_ptr<Model> model = tiny_model({});
  const auto adapter = random_derived(*model, 3);
  const AdapterPlan& plan = *adapter->plan();
  const auto derived_of = [&](const AdapterVersion& version) {
    return std::vector<float>(version.values() + plan.count, version.values() + plan.total());
  };
  const auto before = AdapterVersion::of(*adapter);
  std::vector<float> expected(static_cast<size_t>(plan.derived_count));
  derive(plan, adapter->values().data<float>(), expected.data());
  CHECK(derived_of(*before) == expected);
  before->require_finite();
  adapter->values().data<float>()[0] += 1.0f;
  CHECK(derived_of(*AdapterVersion::of(*adapter)) != expected);
  CHECK(derived_of(*before) == expected);
  for (const int64_t offset : {plan.offset(1), plan.offset(3)}) adapter->values().data<float>()[offset] = 1e30f;
  const auto [code, message] = thrown([&] { AdapterVersion::of(*adapter)->require_finite(); });
  CHECK(code == "ERR_NOT_FINITE");
  CHECK_MESSAGE(contains(message, "d3["), message);
}
