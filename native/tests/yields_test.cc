// Where a step lets shorter jobs run, and that these change none of its bits.
#include <map>
#include <string>

#include "model/logits.h"
#include "tests/step_support.h"
#include "train/evaluate.h"

using namespace rubricate;
using namespace rubricate::testing;

namespace {

std::vector<Tenant> three_tenants(const Model& model) {
  std::vector<Tenant> tenants;
  for (uint64_t i = 0; i < 3; ++i) tenants.push_back(tenant_of(random_adapter(model, RedVariant::all, 5 + i)));
  return tenants;
}

MicroBatch batch_of_three() {
  return tiny_batch({tiny_tokens(70, 1), tiny_tokens(9, 2), tiny_tokens(33, 3)}, {1, 2, 3});
}

// Counts the yields after each op began, forward and backward.
struct Places {
  std::map<std::string, int> yields, ops;
  std::string under_way = "before";

  JobControl control() {
    JobControl job{nullptr, [this] { ++yields[under_way]; }, test_arena()};
    job.observer = [this](const char* op, bool backward) {
      under_way = op + std::string(backward ? " backward" : "");
      ++ops[under_way];
    };
    return job;
  }
  // One before each backward: it is counted where the op before began.
  void check_all(int elsewhere) const {
    int yielded = 0, backwards = 0;
    for (const auto& [place, count] : yields) yielded += count;
    for (const auto& [op, count] : ops) backwards += op.ends_with(" backward") ? count : 0;
    CHECK(backwards > 30);
    CHECK(yielded == backwards + elsewhere);
  }
};

std::vector<Tensor> values_of(const std::vector<Tenant>& tenants) {
  std::vector<Tensor> all;
  for (const Tenant& tenant : tenants) {
    all.push_back(tenant.adapter->values().copied_to(test_arena()));
    all.push_back(tenant.optimizer->whole.m.copied_to(test_arena()));
    all.push_back(tenant.optimizer->whole.v.copied_to(test_arena()));
  }
  return all;
}

}  // namespace

TEST_CASE("a step yields before each block, between the backwards of ops, within the head and around each update") {
  auto model = tiny_model({});
  Places places;
  train_step(*model, three_tenants(*model), {batch_of_three()}, {}, places.control());
  CHECK(places.yields["head_cross_entropy"] == 3 + 1);  // a chunk, and the first backward
  CHECK(places.yields["update"] == 1 + 3);
  places.check_all(3 + 3 + 4);  // blocks, head, updates

  Places again;  // a recomputed block yields between the backwards of its own ops
  train_step(*model, three_tenants(*model), {batch_of_three()}, {.recompute = true}, again.control());
  CHECK(again.ops["linear backward"] == places.ops["linear backward"]);
  again.check_all(3 + 3 + 4);
}

TEST_CASE("the head yields in each of its chunks") {
  auto model = tiny_model({.vocabulary = 40000, .hidden = 8, .heads = 1, .kv_heads = 1, .head_dim = 8});
  const auto adapter = random_adapter(*model, RedVariant::all, 5);
  std::vector<std::vector<int32_t>> sequences = {tiny_tokens(290, 1), tiny_tokens(290, 2)};
  Places places;
  JobControl job = places.control();
  evaluate(*model, {adapter}, {tiny_batch(sequences, {1, 1})}, 0, job);
  const int chunks = (578 + 207) / 208;  // rows that hold 32 MiB of logits, in sixteens
  CHECK(places.yields["head_cross_entropy"] == 3 * chunks);
}

TEST_CASE("an update that began is finished for all tenants, whatever flags are set meanwhile") {
  auto model = tiny_model({});
  std::vector<Tenant> tenants = three_tenants(*model), same = three_tenants(*model);
  std::atomic<bool> all{false};
  for (Tenant& tenant : tenants) tenant.cancelled = std::make_shared<std::atomic<bool>>(false);
  Places places;
  JobControl job = places.control();
  job.cancelled = &all;
  int steps_seen = 0;
  job.yield = [&] {
    if (places.under_way != "update") return;
    all = true;
    if (++steps_seen < 2) return;  // at the first the update has not begun: then a tenant's flag counts
    for (Tenant& tenant : tenants) std::const_pointer_cast<std::atomic<bool>>(tenant.cancelled)->store(true);
    // Between two updates, each tenant is before its update or after it.
    for (size_t i = 0; i < 3; ++i) {
      const bool updated = static_cast<int>(i) < steps_seen - 1;
      CHECK(tenants[i].optimizer->step == (updated ? 1 : 0));
      CHECK(tenants[i].adapter->version() == (updated ? 1 : 0));
      CHECK(tenants[i].optimizer->half_updated == !updated);
    }
  };
  for (const TenantOutcome& outcome : train_step(*model, tenants, {batch_of_three()}, {}, job)) CHECK(!outcome.error);
  CHECK(steps_seen == 4);
  train_step(*model, same, {batch_of_three()}, {}, {nullptr, {}, test_arena()});
  const auto got = values_of(tenants), expected = values_of(same);
  for (size_t i = 0; i < got.size(); ++i) CHECK(same_bits(got[i], expected[i]));
}

TEST_CASE("work at the yields of a step changes no bits, neither do the smaller parts of work beside it") {
  on_every_path([] {
    for (const DType dtype : {DType::f32, DType::bf16})
      for (const int threads : {2, 1, 3}) {
        if (few_cases() && threads != 2) break;
        CAPTURE(dtype_name(dtype));
        CAPTURE(threads);
        const PoolSize size(threads);
        auto model = tiny_model({}, dtype, dtype);
        const std::shared_ptr<const Model> other =
            tiny_model({.hidden = 48, .heads = 4, .kv_heads = 4, .head_dim = 12});
        const std::vector<Tenant> tenants = three_tenants(*model), beside = three_tenants(*model);
        const std::vector<MicroBatch> batches = {batch_of_three(), batch_of_three()};
        const auto logits = [&] {
          return forward_logits(*other, fitting_batch({tiny_tokens(37, 4), {0, 20, 37}, {}, {}}), {}, {5, 36},
                                {nullptr, {}, test_arena()});
        };
        const Tensor expected_logits = logits();
        JobControl job{nullptr, {}, test_arena()};
        int works = 0;
        const int every = few_cases() ? 8 : 1;
        bool same_logits = true;
        job.yield = [&] {
          if (++works % every != 0) return;
          same_logits = same_logits && same_bits(logits(), expected_logits);
        };
        job.wanted = [] { return true; };
        for (const bool recompute : {false, true}) {
          train_step(*model, tenants, batches, {.recompute = recompute}, {nullptr, {}, test_arena()});
          train_step(*model, beside, batches, {.recompute = recompute}, job);
        }
        CHECK(works > 200);
        CHECK(same_logits);
        const auto got = values_of(beside), expected = values_of(tenants);
        for (size_t i = 0; i < got.size(); ++i) CHECK(same_bits(got[i], expected[i]));
      }
  });
}
