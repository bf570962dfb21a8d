// Adapters of several methods in one batch: each has the bits that it has alone, in training and in serving.
#include "adapter/adapter_batch.h"
#include "doctest/doctest.h"
#include "model/logits.h"
#include "tests/decoding.h"
#include "tests/derived_plan.h"
#include "tests/ia3_plan.h"
#include "tests/lora_plan.h"
#include "tests/norms_plan.h"
#include "tests/serve_support.h"
#include "tests/sparse_plan.h"
#include "tests/step_support.h"
#include "tests/steps_plan.h"

using namespace rubricate;
using namespace rubricate::testing;

namespace {

JobControl control() { return {nullptr, {}, device_arena()}; }

const TinyConfig kPlain{.bias = true, .plain = true};

std::vector<std::pair<TinyConfig, DType>> cases() {
  if (few_cases()) return {{kPlain, DType::bf16}};
  return {{{}, DType::f32}, {{}, DType::bf16}, {kPlain, DType::f32}, {kPlain, DType::bf16}};
}

// RED, LoRA, LoRA of another rank at other sites, RED at one site, (IA)3, scales of all sites' inputs, own norms, own biases,
// steps of outputs, branches and inputs, derived values, products with the base's weights, twice by one plan each, and sparse updates of several entries and of few. The two of
// LoRA are neighbours in a batch.
std::vector<std::shared_ptr<Adapter>> some_adapters(const Model& model) {
  return {random_adapter(model, RedVariant::all, 11),
          random_lora(model, 3, 12, all_sites(model.architecture())),
          random_lora(model, 5, 14, {Site::q_proj, Site::v_proj, Site::o_proj}),
          random_adapter(model, RedVariant::scale, 13, {Site::down_proj}),
          random_ia3(model, 15),
          random_ia3(model, 16, {}, all_sites(model.architecture())),
          random_norms(model, 17),
          random_norms(model, 18, {.weights = false, .linear_biases = true}),
          random_steps(model, 19, bottleneck_site),
          random_steps(model, 20, branch_site),
          random_steps(model, 21, input_site),
          random_steps(model, 22, mixing_site),
          random_derived(model, 23),
          random_derived(model, 24),
          random_weights(model, 27),
          random_weights(model, 28),
          random_sparse(model, 4.0, 25, all_sites(model.architecture())),
          random_sparse(model, 30.0, 26, {Site::q_proj, Site::up_proj, Site::down_proj})};
}

std::vector<std::vector<int32_t>> sequences_of(size_t adapter) {
  return {tiny_tokens(9 + 15 * static_cast<int64_t>(adapter), 100 + adapter), tiny_tokens(17, 200 + adapter)};
}

void check_training(const TinyConfig& config, DType dtype) {
  const auto model = tiny_model(config, dtype, dtype);
  const auto adapters = some_adapters(*model);
  std::vector<std::vector<Tensor>> alone;
  std::vector<Tenant> tenants;
  for (size_t i = 0; i < adapters.size(); ++i) {
    const auto sequences = sequences_of(i);
    const auto gradients = [&](const std::vector<MicroBatch>& batches, bool recompute) {
      trained_step(*model, {tenant_of(adapters[i])}, batches, recompute, false, control());
      return copies(*adapters[i], true);
    };
    alone.push_back(gradients({tiny_batch(sequences, {1, 1})}, false));
    check_same(alone.back(), gradients({tiny_batch(sequences, {1, 1})}, true));
    check_same(alone.back(), gradients({tiny_batch({sequences[0]}, {1}), tiny_batch({sequences[1]}, {1})}, false));
    for (const Tensor& gradient : alone.back())
      CHECK(max_error(to_doubles(gradient), Doubles(static_cast<size_t>(gradient.count()))) > 0.0);
    tenants.push_back(tenant_of(adapters[i]));
  }
  std::vector<std::vector<int32_t>> all{tiny_tokens(21, 5)};
  std::vector<int32_t> slots{0};
  for (size_t turn = 0; turn < 2; ++turn)
    for (size_t i = 0; i < adapters.size(); ++i) {
      all.push_back(sequences_of(i)[turn]);
      slots.push_back(static_cast<int32_t>(i) + 1);
    }
  for (const bool recompute : {false, true}) {
    trained_step(*model, tenants, {tiny_batch(all, slots)}, recompute, false, control());
    for (size_t i = 0; i < adapters.size(); ++i) {
      CAPTURE(i);
      check_same(copies(*adapters[i], true), alone[i]);
    }
  }
}

// What a request answers by forwards of the whole.
std::vector<int32_t> forwarded(const Model& model, const std::shared_ptr<Adapter>& adapter,
                               const EngineRequest& request) {
  std::vector<int32_t> tokens = request.prompt;
  for (int32_t i = 0; i < request.max_new; ++i) {
    const auto last = static_cast<int32_t>(tokens.size()) - 1;
    const Doubles logits = to_doubles(
        forward_logits(model, fitting_batch({tokens, {0, last + 1}, {1}, {}}), {adapter}, {last}, control()));
    tokens.push_back(static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin()));
  }
  return {tokens.end() - request.max_new, tokens.end()};
}

void check_serving(const TinyConfig& config, DType dtype) {
  const std::shared_ptr<const Model> model = tiny_model(config, dtype, dtype);
  auto adapters = some_adapters(*model);
  adapters.push_back(nullptr);
  Served together(model);
  std::vector<EngineRequest> requests;
  std::vector<int32_t> ids;
  for (size_t i = 0; i < adapters.size(); ++i) {
    EngineRequest request;
    request.prompt = tiny_tokens(5 + 15 * static_cast<int64_t>(i), i);
    request.max_new = 6;
    if (adapters[i]) request.version = AdapterVersion::of(*adapters[i], {model.get(), control()});
    requests.push_back(request);
    ids.push_back(together.engine->submit(request));
  }
  together.run();
  for (size_t i = 0; i < adapters.size(); ++i) {
    CAPTURE(i);
    CHECK(together.answer(ids[i]).ids == forwarded(*model, adapters[i], requests[i]));
  }
}

}  // namespace

TEST_CASE("adapters of several methods train in one step with the bits of each alone") {
  on_every_path([] {
    for (const auto& [config, dtype] : cases()) check_training(config, dtype);
  });
}

TEST_CASE("an engine answers for adapters of several methods and the base in one step as forwards of the whole do") {
  on_every_path([] {
    for (const auto& [config, dtype] : cases()) check_serving(config, dtype);
  });
}

TEST_CASE("on a device adapters of several methods train and answer together with the bits of each alone") {
  if (!test_stream()) return;
  present_device() = test_stream();
  for (const TinyConfig& config : {TinyConfig{}, kPlain}) {
    check_training(config, DType::f32);
    check_serving(config, DType::f32);
  }
  present_device() = nullptr;
}

TEST_CASE("adapters with a layer norm share a batch only with those of the same plan") {
  const auto model = tiny_model({});
  const auto norm = random_adapter(*model, RedVariant::ln, 1), same = random_adapter(*model, RedVariant::ln, 2),
             other = random_lora(*model, 3, 3);
  AdapterBatch(model->architecture(), {norm, same}, false, control());
  CHECK(error_code([&] { AdapterBatch(model->architecture(), {norm, other}, false, control()); }) == "ERR_ARGUMENT");
  CHECK(error_code([&] { AdapterBatch(model->architecture(), {other, norm}, false, control()); }) == "ERR_ARGUMENT");
}
