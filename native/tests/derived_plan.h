// Plans with derived values (adapter/plan_derived.h), written as JSON, and adapters of them with random numbers.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/test_model.h"

namespace rubricate::testing {

// The lists of a plan's JSON; each call gives what stands for the new entry.
class PlanText {
 public:
  std::string parameter(const Shape& shape) {
    return added(parameters_, concat(R"({"name":"p)", parameters_.size(), R"(","start":0,"shape":)",
                                     compact(shape_text(shape)), "}"));
  }
  std::string constant(const Shape& shape) {
    return concat(R"({"constant":)",
                  added(constants_, concat(R"({"name":"c","shape":)", compact(shape_text(shape)), "}")), "}");
  }
  std::string index(const Shape& shape, int64_t count) {
    return added(indices_, concat(R"({"name":"i","shape":)", compact(shape_text(shape)), R"(,"count":)", count, "}"));
  }
  // fields: all but name and shape.
  std::string derived(const Shape& shape, const std::string& fields) {
    return concat(R"({"derived":)",
                  added(derived_, concat(R"({"name":"d)", derived_.size(), R"(","shape":)", compact(shape_text(shape)),
                                         ",", fields, "}")),
                  "}");
  }
  // parts: all but layer and site.
  void site(int64_t layer, const std::string& site, const std::string& parts) {
    sites_.push_back(concat(R"({"layer":)", layer, R"(,"site":")", site, R"(",)", parts, "}"));
  }
  std::string json() const {
    return concat(R"({"parameters":[)", joined(parameters_), R"(],"constants":[)", joined(constants_),
                  R"(],"indices":[)", joined(indices_), R"(],"derived":[)", joined(derived_), R"(],"sites":[)",
                  joined(sites_), "]}");
  }

 private:
  static std::string added(std::vector<std::string>& list, std::string entry) {
    list.push_back(std::move(entry));
    return std::to_string(list.size() - 1);
  }
  static std::string compact(std::string text) {
    std::erase(text, ' ');
    return text;
  }
  static std::string joined(const std::vector<std::string>& list) {
    std::string all;
    for (const std::string& entry : list) all += (all.empty() ? "" : ",") + entry;
    return all;
  }
  std::vector<std::string> parameters_, constants_, indices_, derived_, sites_;
};

// x + v_0 - 2 v_1 by blocks (reflections of unit vectors) at q_proj's input; a branch of down_proj whose matrices share parameters over
// layers; a bias of v_proj that is f(c D) U of a constant c; a sparse update of
// o_proj with values that the layers share. In the layers 0 and 2 of a tiny model.
inline AdapterPlan derived_plan() {
  PlanText text;
  const std::string a = text.parameter({2, 40}), heads = text.parameter({4, 2}), layers = text.parameter({3, 2}),
                    b = text.parameter({2, 6}), c = text.constant({12}), entries = text.index({24, 24}, 4),
                    values = text.parameter({4});
  for (const int64_t layer : {0, 2}) {
    const std::string u = text.parameter({4, 2, 6}), down = text.parameter({3, 12}), up = text.parameter({12, 3});
    const std::string unit = text.derived({4, 2, 6}, concat(R"("kind":"unit","of":)", u));
    const std::string factored =
        text.derived({4, 6, 2}, concat(R"("kind":"unit","factors":[1,-2],"transposed":true,"of":)", u));
    text.site(layer, "q_proj",
              concat(R"("input":[{"op":"block_linear","weight":)", unit, R"(},{"op":"block_linear","weight":)",
                     factored, R"(},{"op":"residual"}])"));
    const std::string of_layer =
        text.derived({2, 40}, concat(R"("kind":"einsum","axes":"rd","operands":[{"axes":"rd","of":)", a, "}]"));
    const std::string factor = text.derived(
        {24, 2}, concat(R"("kind":"einsum","axes":"hjr","operands":[{"axes":"hr","of":)", heads,
                        R"(},{"axes":"r","row":)", layer, R"(,"of":)", layers, R"(},{"axes":"rj","of":)", b, "}]"));
    text.site(layer, "down_proj",
              concat(R"("branch":[{"op":"linear","weight":)", of_layer, R"(},{"op":"linear","weight":)", factor, "}]"));
    const std::string inner = text.derived({3}, concat(R"("kind":"einsum","axes":"r","operands":[{"axes":"d","of":)", c,
                                                       R"(},{"axes":"rd","of":)", down, "}]"));
    const std::string active = text.derived({3}, concat(R"("kind":"activation","activation":"silu","of":)", inner));
    const std::string change = text.derived({12}, concat(R"("kind":"einsum","axes":"d","operands":[{"axes":"dr","of":)",
                                                         up, R"(},{"axes":"r","of":)", active, "}]"));
    const std::string of_o =
        text.derived({4}, concat(R"("kind":"einsum","axes":"i","operands":[{"axes":"i","of":)", values, "}]"));
    text.site(layer, "o_proj", concat(R"("sparse":{"values":)", of_o, R"(,"index":)", entries, "}"));
    text.site(layer, "v_proj", concat(R"("bias":)", change));
  }
  std::vector<float> constants;
  for (int i = 0; i < 12; ++i) constants.push_back(0.25f * static_cast<float>(i % 5) - 0.4f);
  return AdapterPlan::parse(text.json(), constants, {1, 30, 75, 400});
}

inline std::shared_ptr<Adapter> random_derived(const Model& model, uint64_t seed) {
  auto adapter = std::make_shared<Adapter>(model.architecture(), derived_plan());
  randomize(*adapter, seed);
  return adapter;
}

// Products with the base's weights: W' = W + B silu(A W) at v_proj and up_proj, and W' = W + gelu(W P^T) Q at q_proj, of which the layers share
// P. In the layers 0 and 2 of a tiny model.
inline AdapterPlan weights_plan(const Architecture& architecture) {
  PlanText text;
  const std::string shared = text.parameter({2, architecture.hidden});
  const auto activation = [&](const Shape& shape, const char* kind, const std::string& of) {
    return text.derived(shape, concat(R"("kind":"activation","activation":")", kind, R"(","of":)", of));
  };
  const auto branch = [&](int64_t layer, const char* site, const std::string& first, const std::string& second) {
    text.site(layer, site,
              concat(R"("branch":[{"op":"linear","weight":)", first, R"(},{"op":"linear","weight":)", second, "}]"));
  };
  for (const int64_t layer : {0, 2}) {
    const auto product = [&](const Shape& shape, const char* site, const std::string& rest, const std::string& of) {
      return text.derived(shape, concat(R"("kind":"weight_product","layer":)", layer, R"(,"site":")", site, R"(",)",
                                        rest, R"(,"of":)", of));
    };
    for (const Site site : {Site::v_proj, Site::up_proj}) {
      const char* const name = name_of(kSiteNames, site);
      const int64_t inputs = site_inputs(architecture, site), outputs = site_width(architecture, site);
      const std::string a = text.parameter({3, outputs}), b = text.parameter({outputs, 3});
      const std::string inner = product({3, inputs}, name, R"("along":"outputs")", a);
      branch(layer, name, activation({3, inputs}, "silu", inner), b);
    }
    const int64_t inputs = site_inputs(architecture, Site::q_proj), outputs = site_width(architecture, Site::q_proj);
    const std::string q = text.parameter({2, inputs});
    const std::string inner = product({outputs, 2}, "q_proj", R"("along":"inputs","transposed":true)", shared);
    branch(layer, "q_proj", q, activation({outputs, 2}, "gelu", inner));
  }
  return AdapterPlan::parse(text.json());
}

inline std::shared_ptr<Adapter> random_weights(const Model& model, uint64_t seed) {
  auto adapter = std::make_shared<Adapter>(model.architecture(), weights_plan(model.architecture()));
  randomize(*adapter, seed);
  return adapter;
}

inline Doubles random_numbers(int64_t count, uint64_t seed) {
  Doubles numbers;
  for (int64_t i = 0; i < count; ++i) numbers.push_back(philox_uniform(seed, 9, static_cast<uint64_t>(i)) - 0.5);
  return numbers;
}

inline std::vector<float> rounded(const Doubles& from) { return {from.begin(), from.end()}; }

}  // namespace rubricate::testing
