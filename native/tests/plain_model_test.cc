// Whole models with LayerNorm, learned positions and a feed-forward without a gate. test/parity compares their numbers with
// PyTorch's; here their bits are compared with their own.
#include "doctest/doctest.h"
#include "model/logits.h"
#include "tests/decoding.h"
#include "tests/step_support.h"

using namespace rubricate;
using namespace rubricate::testing;

namespace {

const TinyConfig kPlain{.bias = true, .plain = true};

JobControl control() { return {nullptr, {}, test_arena()}; }

}  // namespace

TEST_CASE("plain model: a recomputed step has the same bits as a stored one, of adapters and of all weights") {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const std::vector<MicroBatch> batches = {tiny_batch({tiny_tokens(70, 1), tiny_tokens(9, 2)}, {1, 1})};
    for (const RedVariant variant : {RedVariant::all, RedVariant::ln}) {
      auto model = tiny_model(kPlain, dtype, dtype);
      const Tenant tenant = tenant_of(random_adapter(*model, variant, 5));
      check_same(gradients(*model, tenant, batches, false), gradients(*model, tenant, batches, true));
    }
    auto model = tiny_model(kPlain, dtype, dtype);
    const Tenant tenant = full_tenant(*model);
    const std::vector<MicroBatch> base = {tiny_batch({tiny_tokens(70, 1), tiny_tokens(9, 2)}, {0, 0})};
    check_same(gradients(*model, tenant, base, false), gradients(*model, tenant, base, true));
  }
}

TEST_CASE("plain model: an adapter's gradients have the same bits alone, packed and among other adapters") {
  on_every_path([] {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      auto model = tiny_model(kPlain, dtype, dtype);
      const auto a = random_adapter(*model, RedVariant::all, 11), b = random_adapter(*model, RedVariant::all, 12);
      const auto s1 = tiny_tokens(70, 1), s2 = tiny_tokens(9, 2), other = tiny_tokens(21, 4);
      const auto alone = gradients(*model, tenant_of(a), {tiny_batch({s1, s2}, {1, 1})}, false);
      check_same(alone, gradients(*model, tenant_of(a), {tiny_batch({s1}, {1}), tiny_batch({s2}, {1})}, true));
      trained_step(*model, {tenant_of(b), tenant_of(a)},
                   {tiny_batch({other, s1}, {1, 2}), tiny_batch({other, s2, other}, {0, 2, 1})}, false, false,
                   control());
      check_same(alone, copies(*a, true));
    }
  });
}

TEST_CASE("plain model: steps of all weights have the same bits on pools of any size") {
  std::vector<Tensor> first;
  for (const int threads : {1, 2, 3}) {
    const PoolSize size(threads);
    auto model = tiny_model({.vocabulary = 512,
                             .hidden = 96,
                             .heads = 4,
                             .kv_heads = 2,
                             .head_dim = 24,
                             .feed_forward = 256,
                             .bias = true,
                             .plain = true});
    const Tenant tenant = full_tenant(*model);
    for (int step = 0; step < 2; ++step)
      trained_step(*model, {tenant}, {tiny_batch({tiny_tokens(200, 1, 512), tiny_tokens(90, 2, 512)}, {0, 0})}, false,
                   true, control());
    const auto values = copies(*tenant.parameters, false);
    if (first.empty()) first = values;
    check_same(first, values);
  }
}

TEST_CASE("plain model: decoded tokens are those of the whole sequence, for any split of the prompt") {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const std::shared_ptr<const Model> model = tiny_model(kPlain, dtype, dtype);
    SamplingOptions sampling;
    sampling.temperature = 0.8f;
    sampling.seed = 4;
    const auto prompt = tiny_tokens(130, 5);
    auto whole = prompt;
    for (int i = 0; i < 12; ++i) {
      const auto n = static_cast<int32_t>(whole.size());
      const Tensor logits = forward_logits(*model, fitting_batch({whole, {0, n}, {0}, {}}), {}, {n - 1}, control());
      whole.push_back(sample_token(logits.data<float>(), logits.cols(), sampling, {}, whole.size()));
    }
    for (const int32_t chunk : {7, 256}) {
      Decoding decoding(model);
      decoding.add(prompt, nullptr, sampling);
      auto text = prompt;
      while (text.size() < whole.size()) text.push_back(decoding.step(chunk).back());
      CHECK(text == whole);
    }
  }
}

TEST_CASE("plain model: an adapter has no site where the model has none") {
  const auto model = tiny_model(kPlain);
  CHECK(error_code([&] { red_adapter(model->architecture(), RedVariant::all, {Site::gate_proj}, {0}); }) ==
        "ERR_ARGUMENT");
}

TEST_CASE("plain model: the architecture's options, and values that are refused") {
  const std::string json = tiny_json(kPlain);
  const Architecture architecture = Architecture::parse(json);
  CHECK(architecture.stack.norm.layer());
  CHECK(architecture.stack.position.learned());
  CHECK(!architecture.stack.feed_forward.gated());
  CHECK(architecture.stack.attention.scale_by_layer);
  const auto refused = [&](const std::string& from, const std::string& to) {
    std::string changed = json;
    const size_t at = changed.find(from);
    REQUIRE(at != std::string::npos);
    changed.replace(at, from.size(), to);
    return error_code([&] { Architecture::parse(changed); });
  };
  CHECK(refused(R"("kind":"layer")", R"("kind":"batch")") == "ERR_CONFIG");
  CHECK(refused(R"("kind":"learned")", R"("kind":"learned","factor":1)") == "ERR_CONFIG");
  CHECK(refused(R"("kind":"learned")", R"("kind":"sinusoidal")") == "ERR_CONFIG");
  CHECK(refused(R"("kind":"gelu")", R"("kind":"relu")") == "ERR_CONFIG");
}
