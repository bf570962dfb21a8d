// Squared gradients of matrices against those of full fine-tuning, and what they refuse.
#include "train/sensitivity.h"

#include <algorithm>

#include "tests/test_model.h"
#include "train/train_step.h"

using namespace rubricate;
using namespace rubricate::testing;

namespace {

JobControl control(const std::shared_ptr<Arena>& arena) { return {nullptr, {}, arena}; }

std::vector<Tensor> sums_of(const Model& model, const std::vector<MatrixSite>& sites,
                            const std::vector<std::vector<MicroBatch>>& steps) {
  const auto new_sum = [](const Shape& shape) { return Tensor::empty(test_arena(), shape, DType::f32); };
  return squared_gradients(model, sites, steps, new_sum, control(test_arena()));
}

const std::vector<MatrixSite> kSome = {{0, Site::q_proj}, {2, Site::down_proj}, {1, Site::up_proj}};

}  // namespace

TEST_CASE("squared gradients are those of full fine-tuning, summed over steps, and the model stays as it is") {
  on_every_path([] {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      auto model = tiny_model({}, dtype, dtype);
      const std::vector<std::vector<MicroBatch>> steps = {
          {tiny_batch({tiny_tokens(9, 1), tiny_tokens(5, 2)}, {}), tiny_batch({tiny_tokens(7, 3)}, {})},
          {tiny_batch({tiny_tokens(12, 4)}, {})}};
      const auto got = sums_of(*model, kSome, steps);
      const auto again = sums_of(*model, {kSome[1]}, steps);
      CHECK(same_bits(again[0], got[1]));
      CHECK(!model->trainable());
      const auto full = model->make_trainable();
      const Tenant tenant{nullptr, full, std::make_shared<OptimizerState>(*full), {}};
      std::vector<Doubles> expected;
      for (const Tensor& sum : got) expected.emplace_back(static_cast<size_t>(sum.count()), 0.0);
      for (const auto& step : steps) {
        train_step(*model, {tenant}, step, {.update = false}, control(test_arena()));
        for (size_t i = 0; i < kSome.size(); ++i)
          for (const Parameter& parameter : full->parameters())
            if (parameter.name == site_name(kSome[i].layer, kSome[i].site) + ".weight") {
              const Doubles gradient = to_doubles(parameter.grad);
              for (size_t at = 0; at < gradient.size(); ++at) expected[i][at] += gradient[at] * gradient[at];
            }
      }
      for (size_t i = 0; i < got.size(); ++i) {
        CAPTURE(i);
        double most = 0.0;
        for (const double one : expected[i]) most = std::max(most, one);
        CHECK(most > 0.0);
        const Doubles own = to_doubles(got[i]);
        for (size_t at = 0; at < own.size(); ++at) CHECK(std::abs(own[at] - expected[i][at]) <= 1e-5 * most);
      }
    }
  });
}

TEST_CASE("squared gradients on a device are those of the CPU") {
  if (!test_stream()) return;
  const std::vector<std::vector<MicroBatch>> steps = {{tiny_batch({tiny_tokens(9, 1), tiny_tokens(5, 2)}, {})}};
  const auto expected = sums_of(*tiny_model({}), kSome, steps);
  present_device() = test_stream();
  const std::shared_ptr<Model> model = tiny_model({});
  const auto new_sum = [](const Shape& shape) { return Tensor::empty(test_arena(), shape, DType::f32); };
  const auto got = squared_gradients(*model, kSome, steps, new_sum, control(device_arena()));
  present_device() = nullptr;
  for (size_t i = 0; i < kSome.size(); ++i) {
    const Doubles own = to_doubles(got[i]), other = to_doubles(expected[i]);
    const double most = *std::max_element(other.begin(), other.end());
    for (size_t at = 0; at < own.size(); ++at) CHECK(std::abs(own[at] - other[at]) <= 1e-5 * most);
  }
}

TEST_CASE("squared gradients refuse norms, layers that the model lacks, a matrix twice and steps without a loss") {
  auto model = tiny_model({});
  const std::vector<std::vector<MicroBatch>> steps = {{tiny_batch({tiny_tokens(9, 1)}, {})}};
  for (const std::vector<MatrixSite>& sites :
       {std::vector<MatrixSite>{{0, Site::input_norm}}, {{99, Site::q_proj}}, {{0, Site::q_proj}, {0, Site::q_proj}}})
    CHECK(error_code([&] { sums_of(*model, sites, steps); }) == "ERR_ARGUMENT");
  const MicroBatch batch = steps[0][0];
  const MicroBatch silent(batch.batch(), std::vector<int32_t>(batch.targets().size(), -1));
  CHECK(error_code([&] { sums_of(*model, kSome, {{batch}, {silent}}); }) == "ERR_DATA");
  std::atomic<bool> cancelled{true};
  JobControl job = control(test_arena());
  job.cancelled = &cancelled;
  const auto new_sum = [](const Shape& shape) { return Tensor::empty(test_arena(), shape, DType::f32); };
  CHECK(error_code([&] { squared_gradients(*model, kSome, steps, new_sum, job); }) == "ERR_ABORTED");
}
