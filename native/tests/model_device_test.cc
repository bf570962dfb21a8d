// A model on a device against the same model on the CPU, and against itself: the same bits in any order of threads,
// alone and in a batch. Only if RUBRICATE_CUDA_LIBRARY names a plug-in.
#include "doctest/doctest.h"
#include "model/logits.h"
#include "tests/decoding.h"
#include "tests/test_model.h"
#include "train/evaluate.h"

using namespace rubricate;
using namespace rubricate::testing;

namespace {

JobControl control() { return {nullptr, {}, device_arena()}; }

// Calls body() on the CPU, then on the device; the results must agree within `tolerance`, relative to the norm.
template <typename Body>
void same_on_both(double tolerance, Body&& body) {
  if (!test_stream()) {
    MESSAGE("not tested: RUBRICATE_CUDA_LIBRARY names no plug-in");
    return;
  }
  const std::vector<Tensor> here = body();
  present_device() = test_stream();
  const std::vector<Tensor> there = body();
  present_device() = nullptr;
  REQUIRE(here.size() == there.size());
  for (size_t i = 0; i < here.size(); ++i) {
    CAPTURE(i);
    const Doubles a = to_doubles(there[i]), b = to_doubles(here[i]);
    REQUIRE(a.size() == b.size());
    double away = 0.0, size = 0.0;
    for (size_t j = 0; j < a.size(); ++j) {
      away += (a[j] - b[j]) * (a[j] - b[j]);
      size += b[j] * b[j];
    }
    CHECK(std::sqrt(away) <= tolerance * std::sqrt(size));
  }
}

void append(std::vector<Tensor>& to, const std::vector<Tensor>& more) { to.insert(to.end(), more.begin(), more.end()); }

// Gradients and updated parameters of some steps, and their losses.
std::vector<Tensor> trained(Model& model, const Tenant& tenant, const std::vector<MicroBatch>& batches, int steps,
                            bool recompute) {
  std::vector<Tensor> out;
  std::vector<float> figures;
  for (int step = 0; step < steps; ++step) {
    const TenantResult result = trained_step(model, {tenant}, batches, recompute, true, control()).front();
    figures.push_back(static_cast<float>(result.loss));
    figures.push_back(static_cast<float>(result.grad_norm));
    if (step == 0) append(out, copies(*tenant.parameters, true));
  }
  out.push_back(Tensor::from_host(test_arena(), {2 * steps}, DType::f32, figures.data()));
  append(out, copies(*tenant.parameters, false));
  return out;
}

AdamWOptions some_options() {
  AdamWOptions options;
  options.weight_decay = 0.1;
  return options;
}

std::vector<Tensor> red_training(DType stored, DType compute, RedVariant variant, int steps, bool recompute) {
  auto model = tiny_model({.bias = true}, stored, compute);
  const auto adapter = random_adapter(*model, variant, 5);
  const Tenant tenant = {adapter, adapter, std::make_shared<OptimizerState>(*adapter), some_options(), 1.0};
  return trained(*model, tenant,
                 {tiny_batch({tiny_tokens(26, 1), tiny_tokens(7, 2)}, {1, 1}), tiny_batch({tiny_tokens(12, 3)}, {1})},
                 steps, recompute);
}

std::vector<Tensor> full_training(DType stored, DType compute, int steps) {
  auto model = tiny_model({.tied = false, .bias = true}, stored, compute);
  const auto parameters = model->make_trainable();
  const Tenant tenant = {nullptr, parameters, std::make_shared<OptimizerState>(*parameters), some_options(), 1.0};
  return trained(*model, tenant, {tiny_batch({tiny_tokens(26, 1), tiny_tokens(7, 2)}, {0, 0})}, steps, false);
}

std::vector<int32_t> decoded(const std::shared_ptr<const Model>& model, const std::shared_ptr<Adapter>& adapter,
                             int32_t chunk, bool company) {
  Decoding decoding(model, present_device());
  SamplingOptions sampling;
  sampling.temperature = 0.8f;
  sampling.top_k = 20;
  sampling.seed = 4;
  if (company) decoding.add(tiny_tokens(33, 6));
  decoding.add(tiny_tokens(70, 5), AdapterVersion::of(*adapter), sampling);
  std::vector<int32_t> text;
  for (int i = 0; i < 8; ++i) text.push_back(decoding.step(chunk).back());
  return text;
}

}  // namespace

TEST_CASE("logits on a device match the CPU") {
  for (const auto& [stored, compute, tolerance] :
       {std::tuple{DType::f32, DType::f32, 2e-6}, std::tuple{DType::f16, DType::f32, 2e-6},
        std::tuple{DType::bf16, DType::f32, 2e-6}, std::tuple{DType::bf16, DType::bf16, 1e-2},
        std::tuple{DType::f32, DType::bf16, 1e-2}}) {
    CAPTURE(dtype_name(stored));
    CAPTURE(dtype_name(compute));
    same_on_both(tolerance, [stored = stored, compute = compute] {
      const auto model = tiny_model({.bias = true}, stored, compute);
      const auto adapter = random_adapter(*model, RedVariant::ln, 1);
      const auto batch = fitting_batch({tiny_tokens(80, 1), {0, 66, 80}, {1, 0}, {}});
      return std::vector<Tensor>{forward_logits(*model, batch, {adapter}, {0, 40, 65, 79}, control())};
    });
  }
}

TEST_CASE("RED steps on a device match the CPU") {
  for (const RedVariant variant : {RedVariant::all, RedVariant::scale, RedVariant::bias, RedVariant::ln}) {
    CAPTURE(static_cast<int>(variant));
    same_on_both(1e-4, [&] { return red_training(DType::f32, DType::f32, variant, 2, false); });
  }
  same_on_both(5e-2, [] { return red_training(DType::bf16, DType::bf16, RedVariant::all, 2, false); });
}

TEST_CASE("full fine-tuning on a device matches the CPU") {
  same_on_both(1e-4, [] { return full_training(DType::f32, DType::f32, 2); });
  same_on_both(1e-4, [] { return full_training(DType::f16, DType::f32, 2); });
  same_on_both(5e-2, [] { return full_training(DType::bf16, DType::bf16, 2); });
}

TEST_CASE("evaluation on a device matches the CPU") {
  same_on_both(2e-6, [] {
    const auto model = tiny_model({});
    const auto adapter = random_adapter(*model, RedVariant::all, 1);
    const auto sums =
        evaluate(*model, {adapter}, {tiny_batch({tiny_tokens(66, 1), tiny_tokens(14, 2)}, {1, 0})}, 0, control());
    CHECK(sums.supervised == std::vector<int64_t>{13, 65});
    return std::vector<Tensor>{from_doubles(test_arena(), {2}, DType::f32, sums.nats)};
  });
}

TEST_CASE("a training step has the same bits in every order of threads and blocks, stored and recomputed") {
  on_every_order(
      [run = 0]() mutable { return red_training(DType::bf16, DType::bf16, RedVariant::all, 1, ++run % 2 == 0); });
  on_every_order([] { return full_training(DType::f32, DType::f32, 1); });
}

TEST_CASE("decoding on a device gives the same tokens for any split of the prompt, and matches the CPU in fp32") {
  if (!test_stream()) return;
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const auto text = [dtype](int32_t chunk, bool company) {
      const std::shared_ptr<const Model> model = tiny_model({}, dtype, dtype);
      return decoded(model, random_adapter(*model, RedVariant::all, 21), chunk, company);
    };
    const auto here = text(256, false);
    present_device() = test_stream();
    const auto there = text(256, false);
    for (const int32_t chunk : {3, 30}) CHECK(text(chunk, false) == there);
    CHECK(text(256, true) == there);
    present_device() = nullptr;
    if (dtype == DType::f32) CHECK(there == here);
  }
}

TEST_CASE("a decoding step on a device downloads only an id for each sequence") {
  if (!test_stream()) return;
  present_device() = test_stream();
  const std::shared_ptr<const Model> model = tiny_model({});
  Decoding decoding(model, present_device());
  for (const float temperature : {0.0f, 1.0f, 0.7f})
    decoding.add(tiny_tokens(5, 1), nullptr, {temperature, 20, 0.9f, 0.01f, 1.1f, 3});
  const int64_t before = test_stream()->downloaded();
  decoding.step();
  CHECK(test_stream()->downloaded() - before == 3 * 4);
  present_device() = nullptr;
}

TEST_CASE("decoding on a device uses the new values of an adapter that was trained meanwhile") {
  if (!test_stream()) return;
  present_device() = test_stream();
  const std::shared_ptr<Model> model = tiny_model({});
  const auto adapter = random_adapter(*model, RedVariant::all, 5);
  const Tenant tenant = {adapter, adapter, std::make_shared<OptimizerState>(*adapter), {.learning_rate = 0.3}, 0.0};
  // The next token of each prompt in turn, with the copies of earlier versions on the device or without; a training
  // step follows the second prompt.
  const auto texts = [&](bool keeps_copies) {
    randomize(*adapter, 5);
    adapter->changed();
    *tenant.optimizer = OptimizerState(*adapter);
    std::vector<int32_t> next;
    auto decoding = std::make_unique<Decoding>(model, present_device());
    for (uint64_t i = 0; i < 6; ++i) {
      if (i == 2) trained_step(*model, {tenant}, {tiny_batch({tiny_tokens(20, 1)}, {1})}, false, true, control());
      if (!keeps_copies) decoding = std::make_unique<Decoding>(model, present_device());
      decoding->add(tiny_tokens(4, 50 + i % 2), AdapterVersion::of(*adapter));
      next.push_back(decoding->step().back());
    }
    return next;
  };
  const auto separately = texts(false);
  CHECK(texts(true) == separately);
  CHECK(std::vector<int32_t>(separately.begin(), separately.begin() + 2) !=
        std::vector<int32_t>(separately.begin() + 2, separately.begin() + 4));
  present_device() = nullptr;
}

TEST_CASE("a model's device memory is released, and a step leaves none in use") {
  if (!test_stream()) return;
  Device& device = test_stream()->device();
  const int64_t before = device.memory().used;
  present_device() = test_stream();
  {
    auto model = tiny_model({});
    CHECK(model->owned_bytes() > 0);
    const auto adapter = random_adapter(*model, RedVariant::all, 5);
    const Tenant tenant = {adapter, adapter, std::make_shared<OptimizerState>(*adapter), {}, 0.0};
    const JobControl job = control();
    trained_step(*model, {tenant}, {tiny_batch({tiny_tokens(70, 1)}, {1})}, false, true, job);
    CHECK(job.arena->stats().used == 0);
    CHECK(device.memory().used > before);
  }
  present_device() = nullptr;
  CHECK(device.memory().used == before);
}

TEST_CASE("a model on a device grows its rotary table with its sequences, and a running step keeps the old one") {
  if (!test_stream()) return;
  present_device() = test_stream();
  const auto far_logits = [](const Model& model) {
    const Batch batch = fitting_batch({tiny_tokens(3, 1), {0, 3}, {}, {2067}});
    return forward_logits(model, batch, {}, {2}, control());
  };
  const auto grown = tiny_model({.context = 1 << 24}), whole = tiny_model({.context = 2070});
  const auto adapter = random_adapter(*grown, RedVariant::all, 5);
  const Tenant tenant = {adapter, adapter, std::make_shared<OptimizerState>(*adapter), {}, 0.0};
  const auto gradients = [&](const std::function<void()>& yield) {
    JobControl job = control();
    job.yield = yield;
    trained_step(*grown, {tenant}, {tiny_batch({tiny_tokens(20, 1)}, {1})}, true, false, job);
    return copies(*adapter, true);
  };
  const auto expected = gradients({});
  const int64_t before = grown->owned_bytes();
  int yields = 0;
  Tensor logits;
  const auto disturbed = gradients([&] {
    if (++yields == 2) logits = far_logits(*grown);
  });
  REQUIRE(yields >= 2);
  for (size_t i = 0; i < expected.size(); ++i) CHECK(same_bits(expected[i], disturbed[i]));
  CHECK(grown->owned_bytes() - before == 2048 * 6 * 4);
  CHECK(same_bits(logits, far_logits(*whole)));
  present_device() = nullptr;
}

TEST_CASE("a step that runs out of device memory changes nothing, and the model stays usable") {
  if (!test_stream()) return;
  Device& device = test_stream()->device();
  present_device() = test_stream();
  auto model = tiny_model({});
  const auto adapter = random_adapter(*model, RedVariant::all, 5);
  const Tenant tenant = {adapter, adapter, std::make_shared<OptimizerState>(*adapter), {}, 0.0};
  const std::vector<MicroBatch> batches = {tiny_batch({tiny_tokens(70, 1)}, {1})};
  const auto logits = [&] {
    return forward_logits(*model, fitting_batch({tiny_tokens(9, 1), {0, 9}, {1}, {}}), {adapter}, {8}, control());
  };
  const Tensor expected = logits();
  const auto before = copies(*adapter, false);
  device.set_limit(device.memory().used + (64 << 10));
  CHECK(error_code([&] { trained_step(*model, {tenant}, batches, false, true, control()); }) == "ERR_OUT_OF_MEMORY");
  CHECK(tenant.optimizer->step == 0);
  const auto after = copies(*adapter, false);
  for (size_t i = 0; i < before.size(); ++i) CHECK(same_bits(before[i], after[i]));
  CHECK(same_bits(logits(), expected));
  device.set_limit(0);
  trained_step(*model, {tenant}, batches, false, true, control());
  CHECK(tenant.optimizer->step == 1);
  present_device() = nullptr;
}
