#include "model/model.h"

#include <cstring>

#include "adapter/adapter_batch.h"
#include "doctest/doctest.h"
#include "model/logits.h"
#include "tests/decoding.h"
#include "tests/step_support.h"

using namespace rubricate;
using namespace rubricate::testing;

namespace {

JobControl control() { return {nullptr, {}, test_arena()}; }

}  // namespace

TEST_CASE("a recomputed step has the same bits as a stored one") {
  for (const DType dtype : {DType::f32, DType::bf16})
    for (const RedVariant variant : {RedVariant::all, RedVariant::scale, RedVariant::bias, RedVariant::ln}) {
      auto model = tiny_model({}, dtype, dtype);
      const Tenant tenant = tenant_of(random_adapter(*model, variant, 5));
      const std::vector<MicroBatch> batches = {tiny_batch({tiny_tokens(70, 1), tiny_tokens(9, 2)}, {1, 1})};
      check_same(gradients(*model, tenant, batches, false), gradients(*model, tenant, batches, true));
    }
  for (const bool head_norm : {false, true}) {
    auto model = tiny_model({.head_norm = head_norm});
    const Tenant tenant = full_tenant(*model);
    const std::vector<MicroBatch> batches = {tiny_batch({tiny_tokens(70, 1), tiny_tokens(9, 2)}, {0, 0})};
    check_same(gradients(*model, tenant, batches, false), gradients(*model, tenant, batches, true));
  }
}

TEST_CASE("norms of heads: decoded tokens are those of the whole sequence, and the norms matter") {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const std::shared_ptr<const Model> model = tiny_model({.head_norm = true}, dtype, dtype);
    SamplingOptions sampling;
    sampling.temperature = 0.8f;
    sampling.seed = 4;
    const auto continued = [&](const Model& of, std::vector<int32_t> tokens) {
      for (int i = 0; i < 12; ++i) {
        const auto n = static_cast<int32_t>(tokens.size());
        const Tensor logits = forward_logits(of, fitting_batch({tokens, {0, n}, {0}, {}}), {}, {n - 1}, control());
        tokens.push_back(sample_token(logits.data<float>(), logits.cols(), sampling, {}, tokens.size()));
      }
      return tokens;
    };
    const auto prompt = tiny_tokens(130, 5);
    const auto whole = continued(*model, prompt);
    for (const int32_t chunk : {7, 256}) {
      Decoding decoding(model);
      decoding.add(prompt, nullptr, sampling);
      auto text = prompt;
      while (text.size() < whole.size()) text.push_back(decoding.step(chunk).back());
      CHECK(text == whole);
    }
    const auto scaled =
        tiny_model({.head_norm = true}, dtype, dtype, [](const std::string& name, const Tensor& tensor) {
          if (name != "layers.0.self_attn.k_norm.weight") return;
          const Tensor changed = random_tensor(test_arena(), tensor.shape(), tensor.dtype(), 99, -2.0, 2.0);
          std::memcpy(tensor.raw(), changed.raw(), static_cast<size_t>(tensor.bytes()));
        });
    CHECK(continued(*scaled, prompt) != whole);
  }
}

TEST_CASE("an adapter's gradients have the same bits alone, packed, among other adapters and over micro-batches") {
  on_every_path([] {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      auto model = tiny_model({}, dtype, dtype);
      const auto a = random_adapter(*model, RedVariant::all, 11), b = random_adapter(*model, RedVariant::all, 12);
      const auto s1 = tiny_tokens(70, 1), s2 = tiny_tokens(9, 2), s3 = tiny_tokens(33, 3), other = tiny_tokens(21, 4);
      const auto alone = gradients(*model, tenant_of(a), {tiny_batch({s1, s2, s3}, {1, 1, 1})}, false);
      check_same(alone, gradients(*model, tenant_of(a), {tiny_batch({s1}, {1}), tiny_batch({s2, s3}, {1, 1})}, false));
      check_same(alone, gradients(*model, tenant_of(a),
                                  {tiny_batch({s1}, {1}), tiny_batch({s2}, {1}), tiny_batch({s3}, {1})}, true));
      trained_step(*model, {tenant_of(b), tenant_of(a)},
                   {tiny_batch({other, s1}, {1, 2}), tiny_batch({other, s2, other, s3, other}, {0, 2, 1, 2, 1})}, false,
                   false, control());
      check_same(alone, copies(*a, true));
    }
  });
}

TEST_CASE("a step has the same bits on pools of any size, and was split") {
  std::vector<Tensor> first;
  for (const int threads : {1, 2, 3, 7}) {
    const PoolSize size(threads);
    auto model =
        tiny_model({.vocabulary = 512, .hidden = 96, .heads = 4, .kv_heads = 2, .head_dim = 24, .feed_forward = 256});
    const Tenant tenant = tenant_of(random_adapter(*model, RedVariant::all, 3));
    const int64_t before = ThreadPool::instance().split_regions();
    for (int step = 0; step < 3; ++step)
      trained_step(*model, {tenant}, {tiny_batch({tiny_tokens(200, 1, 512), tiny_tokens(90, 2, 512)}, {1, 1})}, false,
                   true, control());
    if (threads > 1) CHECK(ThreadPool::instance().split_regions() > before + 100);
    const auto values = copies(*tenant.parameters, false);
    if (first.empty()) first = values;
    check_same(first, values);
  }
}

TEST_CASE("a step allocates no memory from the system after the first of its shape") {
  for (const bool full : {false, true}) {
    auto model = tiny_model({});
    const Tenant tenant = full ? full_tenant(*model) : tenant_of(random_adapter(*model, RedVariant::all, 3));
    const MicroBatch batch = tiny_batch({tiny_tokens(150, 1), tiny_tokens(90, 2)}, {!full, !full});
    const auto arena = std::make_shared<Arena>(nullptr, true);
    int64_t blocks = 0;
    for (int step = 0; step < 3; ++step) {
      trained_step(*model, {tenant}, {batch}, false, true, {nullptr, {}, arena});
      arena->end_job();
      if (step > 0) CHECK(arena->stats().blocks == blocks);
      blocks = arena->stats().blocks;
    }
  }
}

TEST_CASE("logits of a sequence have the same bits alone and in a batch with other adapters") {
  on_every_path([] {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      const auto model = tiny_model({.bias = true}, dtype, dtype);
      const auto a = random_adapter(*model, RedVariant::ln, 1), b = random_adapter(*model, RedVariant::ln, 2);
      const auto s = tiny_tokens(66, 9), other = tiny_tokens(40, 8);
      std::vector<int32_t> rows;
      for (int32_t i = 0; i < 66; ++i) rows.push_back(i);
      const Tensor alone = forward_logits(*model, fitting_batch({s, {0, 66}, {1}, {}}), {a}, rows, control());
      std::vector<int32_t> tokens = other;
      tokens.insert(tokens.end(), s.begin(), s.end());
      tokens.insert(tokens.end(), other.begin(), other.end());
      for (int32_t& row : rows) row += 40;
      const Tensor mixed =
          forward_logits(*model, fitting_batch({tokens, {0, 40, 106, 146}, {2, 1, 0}, {}}), {a, b}, rows, control());
      CHECK(same_bits(alone, mixed));
      CHECK(to_doubles(alone) != to_doubles(forward_logits(
                                     *model, fitting_batch({s, {0, 66}, {1}, {}}), {b},
                                     [] {
                                       std::vector<int32_t> all;
                                       for (int32_t i = 0; i < 66; ++i) all.push_back(i);
                                       return all;
                                     }(),
                                     control())));
    }
  });
}

TEST_CASE("a sequence's gradients and logits have the same bits at any position among 2 to 37 adapters") {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    auto model = tiny_model({}, dtype, dtype);
    std::vector<std::shared_ptr<Adapter>> adapters;
    for (uint64_t i = 0; i < 37; ++i) adapters.push_back(random_adapter(*model, RedVariant::all, 100 + i));
    const auto own = tiny_tokens(45, 9);
    const auto alone = gradients(*model, tenant_of(adapters[0]), {tiny_batch({own}, {1})}, false);
    const Tensor logits =
        forward_logits(*model, fitting_batch({own, {0, 45}, {1}, {}}), {adapters[0]}, {44}, control());
    for (const int32_t count : {2, 5, 37})
      for (const int32_t place : {0, count / 2, count - 1}) {
        CAPTURE(count);
        CAPTURE(place);
        std::vector<std::vector<int32_t>> sequences;
        std::vector<int32_t> slots;
        std::vector<Tenant> tenants;
        for (int32_t i = 0; i < count; ++i) {
          const bool mine = i == place;
          sequences.push_back(mine ? own : tiny_tokens(2 + (i * 7) % 30, static_cast<uint64_t>(i) + 50));
          slots.push_back(i + 1);
          tenants.push_back(tenant_of(adapters[static_cast<size_t>(mine ? 0 : i == 0 ? place : i)]));
        }
        const MicroBatch micro = tiny_batch(sequences, slots);
        const Batch& batch = micro.batch();
        trained_step(*model, tenants, {micro}, false, false, control());
        check_same(alone, copies(*adapters[0], true));
        std::vector<std::shared_ptr<Adapter>> order;
        for (const Tenant& tenant : tenants) order.push_back(tenant.adapter);
        const int32_t last = batch.starts()[static_cast<size_t>(place) + 1] - 1;
        CHECK(same_bits(logits, forward_logits(*model, fitting_batch({batch.tokens(), batch.starts(), slots, {}}),
                                               order, {last}, control())));
      }
  }
}

TEST_CASE("decoding gives the same tokens for any split of the prompt and any other sequences in the batch") {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const std::shared_ptr<const Model> model = tiny_model({}, dtype, dtype);
    const auto adapter = random_adapter(*model, RedVariant::all, 21);
    const auto prompt = tiny_tokens(130, 5);
    SamplingOptions sampling;
    sampling.temperature = 0.8f;
    sampling.top_k = 20;
    sampling.seed = 4;
    const auto decode = [&](int32_t chunk, bool company) {
      Decoding decoding(model);
      if (company) decoding.add(tiny_tokens(33, 6));
      decoding.add(prompt, AdapterVersion::of(*adapter), sampling);
      std::vector<int32_t> text;
      for (int i = 0; i < 40; ++i) text.push_back(decoding.step(chunk).back());
      return text;
    };
    const auto whole = decode(256, false);
    for (const int32_t chunk : {1, 7, 64}) CHECK(decode(chunk, false) == whole);
    CHECK(decode(256, true) == whole);
    CHECK(decode(5, true) == whole);
    // The same without a cache: all tokens are computed again for each new token.
    std::vector<int32_t> tokens = prompt;
    for (int i = 0; i < 10; ++i) {
      const auto n = static_cast<int32_t>(tokens.size());
      const Tensor logits =
          forward_logits(*model, fitting_batch({tokens, {0, n}, {1}, {}}), {adapter}, {n - 1}, control());
      tokens.push_back(sample_token(logits.data<float>(), logits.cols(), sampling, {}, tokens.size()));
      CHECK(tokens.back() == whole[static_cast<size_t>(i)]);
    }
  }
}

TEST_CASE("a decoding step has one parallel region for q, k and v, and one for gate and up") {
  const PoolSize size(2);
  for (const CpuPath path : tested_cpu_paths()) {
    if (path == CpuPath::portable) continue;  // the portable path has no kernels for few rows
    const PathScope on(path);
    CAPTURE(cpu_path_name(path));
    const std::shared_ptr<const Model> model = tiny_model(
        {.hidden = 256, .layers = 2, .heads = 4, .kv_heads = 4, .head_dim = 64, .feed_forward = 512, .tied = false});
    Decoding decoding(model);
    decoding.add(tiny_tokens(5, 1));
    decoding.step();
    const int64_t regions = ThreadPool::instance().split_regions();
    decoding.step();
    CHECK(ThreadPool::instance().split_regions() - regions ==
          2 * 4);  // for each layer; other ops are too small to split
  }
}

TEST_CASE(
    "a model's rotary table is only as long as its sequences need, independent of its context, with the same bits") {
  const auto logits = [](const Model& model, int32_t length, int32_t row) {
    return forward_logits(model, fitting_batch({tiny_tokens(length, 1), {0, length}, {}, {}}), {}, {row}, control());
  };
  const auto vast = tiny_model({.context = 1 << 24}), small = tiny_model({.context = 2048});
  const int64_t before = vast->owned_bytes();
  CHECK(before == small->owned_bytes());
  CHECK(same_bits(logits(*vast, 3, 2), logits(*small, 3, 2)));
  CHECK(vast->owned_bytes() == before);
  const auto medium = tiny_model({.context = 2100});
  CHECK(same_bits(logits(*vast, 2100, 2099), logits(*medium, 2100, 2099)));
  CHECK(medium->owned_bytes() - before == (2100 - 2048) * 6 * 4);  // head_dim / 2 cosines and sines per position
  CHECK(vast->owned_bytes() - before == 2048 * 6 * 4);
}

TEST_CASE("nothing is recorded below the lowest edit") {
  auto model = tiny_model({});
  const auto top = red_adapter(model->architecture(), RedVariant::all, {Site::down_proj}, {2});
  const auto all = red_adapter(model->architecture(), RedVariant::all, {Site::down_proj}, {0, 1, 2});
  const auto recorded = [&](const std::shared_ptr<Adapter>& adapter) {
    const auto arena = test_arena();
    const AdapterBatch edits(model->architecture(), {adapter}, true, {nullptr, {}, arena});
    Tape tape(arena, Tape::Mode::training);
    const Batch batch = fitting_batch({tiny_tokens(12, 1), {0, 12}, {1}, {}});
    model->forward(tape, batch, &edits, false, nullptr);
    return tape.recorded();
  };
  CHECK(recorded(top) == 1);  // only the last close
  CHECK(recorded(all) > 20);
}

TEST_CASE("a step that is not finite changes nothing") {
  auto model = tiny_model({});
  const auto adapter = random_adapter(*model, RedVariant::all, 5);
  const Tenant tenant = tenant_of(adapter);
  adapter->parameters()[0].master.data<float>()[0] = std::numeric_limits<float>::infinity();
  const auto before = copies(*adapter, false);
  CHECK(error_code([&] {
          trained_step(*model, {tenant}, {tiny_batch({tiny_tokens(20, 1)}, {1})}, false, true, control());
        }) == "ERR_NOT_FINITE");
  check_same(before, copies(*adapter, false));
  CHECK(tenant.optimizer->step == 0);
}

TEST_CASE("an update whose result is not finite changes nothing: neither parameters nor moments") {
  for (const bool full : {false, true})
    for (const bool decays : {false, true})
      for (const DType stored : {DType::f32, DType::bf16}) {
        INFO("full ", full, ", decays ", decays, ", stored ", std::string(dtype_name(stored)));
        auto model = tiny_model({}, stored);
        Tenant tenant = full ? full_tenant(*model) : tenant_of(random_adapter(*model, RedVariant::all, 5));
        tenant.options.beta1 = 0.0;  // a change of the gradient moves a parameter by more than the learning rate
        const std::vector<int32_t> slots = {full ? 0 : 1};
        trained_step(*model, {tenant}, {tiny_batch({tiny_tokens(20, 1)}, slots)}, false, true, control());
        const auto before = copies(*tenant.parameters, false);
        OptimizerState& state = *tenant.optimizer;
        std::vector<Tensor> moments;
        for (const auto* tensors : {&state.m, &state.v})
          for (const Tensor& tensor : *tensors) moments.push_back(tensor.copied_to(test_arena()));
        const AdamWOptions sound = tenant.options;
        tenant.options.learning_rate = decays ? 2e38 : 3.3e38;
        tenant.options.weight_decay = decays ? 1e6 : 0.0;
        const std::vector<MicroBatch> next = {tiny_batch({tiny_tokens(20, 2)}, slots)};
        CHECK(error_code([&] { trained_step(*model, {tenant}, next, false, true, control()); }) == "ERR_NOT_FINITE");
        check_same(before, copies(*tenant.parameters, false));
        std::vector<Tensor> after;
        for (const auto* tensors : {&state.m, &state.v})
          for (const Tensor& tensor : *tensors) after.push_back(tensor);
        check_same(moments, after);
        CHECK(state.step == 1);
        CHECK(!state.half_updated);
        tenant.options = sound;
        trained_step(*model, {tenant}, next, false, true, control());
        CHECK(state.step == 2);
      }
}

TEST_CASE("an aborted step changes nothing and the model stays usable") {
  auto model = tiny_model({});
  const auto adapter = random_adapter(*model, RedVariant::all, 5);
  const Tenant tenant = tenant_of(adapter);
  const auto before = copies(*adapter, false);
  std::atomic<bool> cancelled{false};
  JobControl stopping = control();
  stopping.cancelled = &cancelled;
  int yields = 0;
  stopping.yield = [&] { cancelled = ++yields == 2; };
  const std::vector<MicroBatch> batches = {tiny_batch({tiny_tokens(20, 1)}, {1})};
  CHECK(error_code([&] { trained_step(*model, {tenant}, batches, false, true, stopping); }) == "ERR_ABORTED");
  check_same(before, copies(*adapter, false));
  CHECK(stopping.arena->stats().used == 0);
  trained_step(*model, {tenant}, batches, false, true, control());
  CHECK(tenant.optimizer->step == 1);
}
