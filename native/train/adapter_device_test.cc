// The optimizer's part of a RED step on a device: it runs there, its results are downloaded after each step, and a
// gradient that is not finite changes nothing. Needs a plug-in, named by RUBRICATE_CUDA_LIBRARY.
#include <limits>

#include "doctest/doctest.h"
#include "optimizer/gradient_norm.h"
#include "tests/test_model.h"
#include "train/evaluate.h"

using namespace rubricate;
using namespace rubricate::testing;

namespace {

const AdamWOptions kOptions = {.weight_decay = 0.1};

JobControl control() { return {nullptr, {}, device_arena()}; }

// A RED step with the variant that has the most vectors: two micro-batches, weight decay, clipping.
struct RedRun {
  std::shared_ptr<Model> model = tiny_model({});
  std::shared_ptr<Adapter> adapter = random_adapter(*model, RedVariant::ln, 5);
  std::shared_ptr<OptimizerState> optimizer = std::make_shared<OptimizerState>(*adapter);
  std::vector<MicroBatch> batches = {tiny_batch({tiny_tokens(9, 1)}, {1}), tiny_batch({tiny_tokens(5, 2)}, {1})};
  double max_grad_norm = 0.01;
  Tenant tenant() const { return {adapter, adapter, optimizer, kOptions, max_grad_norm}; }
  void step(Model& on) const { trained_step(on, {tenant()}, batches, false, true, control()); }
  std::vector<Tensor> state() const {
    return {adapter->values(), adapter->gradients(), optimizer->whole.m, optimizer->whole.v};
  }
  std::vector<Tensor> copied_state() const {
    std::vector<Tensor> copies;
    for (const Tensor& tensor : state()) copies.push_back(tensor.copied_to(test_arena()));
    return copies;
  }
};

double relative_error(const Tensor& got, const Tensor& expected) {
  const Doubles a = to_doubles(got), b = to_doubles(expected);
  double away = 0.0, size = 0.0;
  for (size_t i = 0; i < a.size(); ++i) {
    away += (a[i] - b[i]) * (a[i] - b[i]);
    size += b[i] * b[i];
  }
  return std::sqrt(away / size);
}

}  // namespace

TEST_CASE("a RED step's moments stay on the device, and only the adapter and they are downloaded") {
  if (!test_stream()) return;
  present_device() = test_stream();
  const RedRun run;
  Device& device = test_stream()->device();
  const int64_t bytes = run.adapter->values().bytes();
  run.step(*run.model);
  const int64_t held = device.memory().used, downloaded = test_stream()->downloaded();
  run.step(*run.model);
  CHECK(device.memory().used == held);
  CHECK(test_stream()->downloaded() - downloaded >= 4 * bytes);
  CHECK(test_stream()->downloaded() - downloaded < 5 * bytes);
  present_device() = nullptr;
  run.step(*std::shared_ptr<Model>(tiny_model({})));
  CHECK(held - device.memory().used == 3 * bytes);  // moments and decay targets, until trained elsewhere
}

TEST_CASE("a RED step on a device equals AdamW on the CPU with its gradients, and all results are downloaded") {
  if (!test_stream()) return;
  present_device() = test_stream();
  const RedRun run;
  std::vector<Tensor> gradients;
  for (const Parameter& parameter : run.adapter->parameters()) gradients.push_back(parameter.grad);
  for (int step = 1; step <= 3; ++step) {
    const auto expected = run.copied_state();
    run.step(*run.model);
    for (const Tensor& tensor : run.state()) CHECK(tensor.stream() == nullptr);
    CHECK(run.optimizer->step == step);
    const double norm = global_norm(gradients);
    CHECK(norm > run.max_grad_norm);
    adamw_step(expected[0], run.adapter->gradients(), expected[2], expected[3], step, kOptions, 0.0f,
               clip_factor(norm, run.max_grad_norm), run.optimizer->whole.decay_targets);
    const auto got = run.state();
    if (cpu_path() != CpuPath::portable)  // the portable path does not fuse multiply and add
      for (const size_t i : {0, 2, 3}) CHECK(same_bits(got[i], expected[i]));
  }
  present_device() = nullptr;
}

TEST_CASE("an adapter and its moments move from a device to the CPU, to another stream and back, step by step") {
  if (!test_stream()) return;
  const RedRun here;
  for (int step = 0; step < 4; ++step) here.step(*here.model);
  RedRun moving;
  const auto step_on = [&](const std::shared_ptr<Stream>& stream) {
    present_device() = stream;
    moving.step(*std::shared_ptr<Model>(tiny_model({})));
    present_device() = nullptr;
  };
  const auto other = std::make_shared<Stream>(test_stream()->device());
  for (const auto& stream : {test_stream(), std::shared_ptr<Stream>(), other, test_stream()}) step_on(stream);
  CHECK(moving.optimizer->step == 4);
  const auto a = here.state(), b = moving.state();
  for (size_t i = 0; i < a.size(); ++i) {
    CAPTURE(i);
    CHECK(relative_error(b[i], a[i]) < 1e-4);
  }
}

TEST_CASE("a step on a device starts from moments that were set after the step before") {
  if (!test_stream()) return;
  present_device() = test_stream();
  const RedRun run, resumed;
  run.step(*run.model);
  resumed.step(*resumed.model);
  resumed.step(*resumed.model);  // then back to the other's model, as a resumed checkpoint
  copy_elements(resumed.adapter->values(), run.adapter->values());
  resumed.adapter->changed();
  copy_elements(resumed.optimizer->whole.m, run.optimizer->whole.m);
  copy_elements(resumed.optimizer->whole.v, run.optimizer->whole.v);
  resumed.optimizer->step = 1;
  resumed.optimizer->changed();
  run.step(*run.model);
  resumed.step(*resumed.model);
  for (size_t i = 0; i < run.state().size(); ++i) CHECK(same_bits(resumed.state()[i], run.state()[i]));
  present_device() = nullptr;
}

TEST_CASE("frozen elements keep value and moments of 0, and do not count in the gradient's norm, on every device") {
  for (const auto& stream : devices())
    for (const bool to_zero : {false, true}) {
      present_device() = stream;
      const RedRun run;
      const auto step = [&] {
        Tenant tenant = run.tenant();
        tenant.decay_to_zero = to_zero;
        return train_step(*run.model, {tenant}, run.batches, {}, control()).front().result.grad_norm;
      };
      step();
      std::vector<int32_t> frozen;
      for (int32_t place = 1; place < run.adapter->values().count(); place += 3) frozen.push_back(place);
      run.optimizer->freeze(frozen);
      const auto before = run.copied_state();
      const double norm = step();
      step();
      const auto state = run.state();
      auto next = frozen.begin();
      for (int32_t place = 0; place < run.adapter->values().count(); ++place) {
        const bool is_frozen = next != frozen.end() && *next == place;
        if (is_frozen) ++next;
        CAPTURE(place);
        CHECK((state[0].data<float>()[place] == before[0].data<float>()[place]) == is_frozen);
        for (const size_t i : {1, 2, 3}) CHECK((state[i].data<float>()[place] == 0.0f) == is_frozen);
      }
      const RedRun free;
      copy_elements(free.adapter->values(), before[0]);
      free.adapter->changed();
      const double whole =
          train_step(*free.model, {free.tenant()}, free.batches, {}, control()).front().result.grad_norm;
      for (const int32_t place : frozen) free.adapter->gradients().data<float>()[place] = 0.0f;
      CHECK(norm == doctest::Approx(global_norm({free.adapter->gradients()})).epsilon(1e-6));
      CHECK(norm < 0.99 * whole);
    }
  present_device() = nullptr;
}

TEST_CASE("a step with a finite loss but a gradient that is not finite changes nothing, on every device") {
  for (const auto& stream : devices()) {
    present_device() = stream;
    RedRun run;
    run.step(*run.model);
    const auto before = run.copied_state();
    // Token 60 is infinite. In the last position it changes no row whose loss counts, but 0 times infinity is NaN.
    const auto infinite = [](const std::string& name, const Tensor& tensor) {
      if (name == "embed_tokens.weight")
        tensor.data<float>()[60 * tensor.cols()] = std::numeric_limits<float>::infinity();
    };
    const auto model = tiny_model({.tied = false}, DType::f32, DType::f32, infinite);
    run.batches = {MicroBatch(fitting_batch({{1, 2, 3, 60}, {0, 4}, {1}, {}}), {2, 3, -1, -1})};
    const auto loss_alone = evaluate(*model, {run.adapter}, run.batches, 0, control());
    CHECK(std::isfinite(loss_alone.nats[1]));
    std::string says;
    try {
      run.step(*model);
    } catch (const Error& error) {
      CHECK(error.code() == std::string("ERR_NOT_FINITE"));
      says = error.what();
    }
    CHECK(says.find("The gradient of layers.") == 0);
    const auto after = run.copied_state();
    for (const size_t i : {0, 2, 3}) CHECK(same_bits(after[i], before[i]));
    CHECK(run.optimizer->step == 1);
    run.batches = {tiny_batch({tiny_tokens(5, 2)}, {1})};
    run.step(*run.model);  // the run can continue
    CHECK(run.optimizer->step == 2);
  }
  present_device() = nullptr;
}
