// Adapters with their own vectors of the model's norms, in whole models of both kinds of norm.
#include "doctest/doctest.h"
#include "model/logits.h"
#include "tests/norms_plan.h"
#include "tests/step_support.h"

using namespace rubricate;
using namespace rubricate::testing;

namespace {

const TinyConfig kPlain{.bias = true, .plain = true};

using Values = std::map<std::string, Tensor>;

std::unique_ptr<Model> model_with(const TinyConfig& config, DType dtype, Values& values) {
  return tiny_model(config, dtype, dtype,
                    [&](const std::string& name, const Tensor& tensor) { values.emplace(name, tensor); });
}

// The base's tensor of a parameter: the norm after the last layer is the final one.
std::string base_name(const Model& model, const std::string& name) {
  const std::string last = site_name(model.architecture().stack.layers, Site::input_norm);
  return name.rfind(last, 0) == 0 ? "norm" + name.substr(last.size()) : name;
}

// Sets the own vectors of norms to the base's; biases of linear layers stay 0.
void take_base(const Model& model, Adapter& adapter, const Values& values) {
  for (Parameter& parameter : adapter.parameters())
    if (parameter.name.find("norm") != std::string::npos)
      convert_elements(parameter.master, values.at(base_name(model, parameter.name)));
}

Tensor logits_of(const Model& model, const std::shared_ptr<Adapter>& adapter) {
  const auto tokens = tiny_tokens(19, 3);
  return forward_logits(model, fitting_batch({tokens, {0, 12, 19}, {adapter ? 1 : 0, 0}, {}}),
                        adapter ? std::vector{adapter} : std::vector<std::shared_ptr<Adapter>>{}, {0, 11, 18},
                        {nullptr, {}, test_arena()});
}

}  // namespace

TEST_CASE("an adapter that has the base's norms changes nothing, and its gradients are those of all weights") {
  for (const TinyConfig& config : {TinyConfig{}, TinyConfig{.bias = true, .head_norm = true}, kPlain}) {
    Values values;
    const auto model = model_with(config, DType::f32, values);
    const auto adapter = std::make_shared<Adapter>(model->architecture(),
                                                   norms_plan(model->architecture(), {.linear_biases = config.bias}));
    take_base(*model, *adapter, values);
    CHECK(same_bits(logits_of(*model, adapter), logits_of(*model, nullptr)));

    const auto sequence = tiny_tokens(70, 1);
    gradients(*model, tenant_of(adapter), {tiny_batch({sequence}, {1})}, false);
    Values ignored;
    const auto full_model = model_with(config, DType::f32, ignored);
    const Tenant full = full_tenant(*full_model);
    gradients(*full_model, full, {tiny_batch({sequence}, {0})}, false);
    std::map<std::string, Tensor> all;
    for (const Parameter& parameter : full.parameters->parameters()) all.emplace(parameter.name, parameter.grad);
    for (const Parameter& parameter : adapter->parameters()) {
      CAPTURE(parameter.name);
      const Doubles expected = to_doubles(all.at(base_name(*model, parameter.name)));
      CHECK(max_error(expected, Doubles(expected.size())) > 0.0);
      check_close(to_doubles(parameter.grad), expected, 1e-5, 1e-7);
    }
  }
}

TEST_CASE("own norms: a recomputed step has the bits of a stored one, also where one norm alone trains") {
  for (const TinyConfig& config : {TinyConfig{}, kPlain})
    for (const DType dtype : {DType::f32, DType::bf16}) {
      const auto model = tiny_model(config, dtype, dtype);
      const std::vector<MicroBatch> batches = {tiny_batch({tiny_tokens(70, 1), tiny_tokens(9, 2)}, {1, 1})};
      const auto whole = random_norms(*model, 5);
      check_same(gradients(*model, tenant_of(whole), batches, false),
                 gradients(*model, tenant_of(whole), batches, true));
      const AdapterPlan all = norms_plan(model->architecture(), {.biases = false});
      for (const AdapterPlan::SitePlan& site : all.sites) {
        AdapterPlan one{{all.parameters[static_cast<size_t>(site.own_weight)]}, {site}, 24};
        one.parameters[0].offset = 0;
        one.sites[0].own_weight = 0;
        const auto adapter = std::make_shared<Adapter>(model->architecture(), one);
        const auto stored = gradients(*model, tenant_of(adapter), batches, false);
        CHECK(max_error(to_doubles(stored[0]), Doubles(24)) > 0.0);
        check_same(stored, gradients(*model, tenant_of(adapter), batches, true));
      }
    }
}

TEST_CASE("weight decay leaves parameters alone that do not decay, and pulls the others beside them") {
  const auto model = tiny_model({});
  AdapterPlan plan = norms_plan(model->architecture());
  for (const size_t decaying : {size_t{1}, size_t{2}, plan.parameters.size() - 1})
    plan.parameters[decaying].decays = true;
  const auto after = [&](double decay) {
    const auto adapter = std::make_shared<Adapter>(model->architecture(), plan);
    randomize(*adapter, 7);
    Tenant tenant = tenant_of(adapter);
    tenant.options.learning_rate = 0.01;
    tenant.options.weight_decay = static_cast<float>(decay);
    trained_step(*model, {tenant}, {tiny_batch({tiny_tokens(20, 1)}, {1})}, false, true, {nullptr, {}, test_arena()});
    return copies(*adapter, false);
  };
  const auto without = after(0.0), with = after(0.5);
  for (size_t i = 0; i < without.size(); ++i) {
    CAPTURE(i);
    CHECK(same_bits(without[i], with[i]) == !plan.parameters[i].decays);
  }
}
