// A step of many tenants: each gets the bytes of its run alone, and what is wrong with one is its own.
#include "train/train_step.h"

#include <limits>
#include <string>

#include "tests/test_model.h"
#include "train/evaluate.h"

using namespace rubricate;
using namespace rubricate::testing;

namespace {

constexpr size_t kTenants = 64;
// What is wrong with these.
constexpr size_t kNotFinite = 7, kUnsupervised = 20, kCancelledBefore = 33, kCancelledDuring = 34;
constexpr int kSteps = 2;

struct Sequence {
  std::vector<int32_t> tokens;
  int32_t slot;
  bool supervised;
};

MicroBatch batch_of(const std::vector<Sequence>& sequences) {
  std::vector<std::vector<int32_t>> tokens;
  std::vector<int32_t> slots;
  for (const Sequence& sequence : sequences) {
    tokens.push_back(sequence.tokens);
    slots.push_back(sequence.slot);
  }
  const MicroBatch all = tiny_batch(tokens, slots);
  std::vector<int32_t> targets = all.targets();
  for (size_t s = 0; s < sequences.size(); ++s)
    if (!sequences[s].supervised)
      std::fill(targets.begin() + all.batch().starts()[s], targets.begin() + all.batch().starts()[s + 1], -1);
  return {all.batch(), std::move(targets)};
}

// The sequences of a tenant in a step: one to three, of 2 to 70 tokens.
std::vector<Sequence> sequences_of(size_t tenant, int step, int32_t slot) {
  std::vector<Sequence> sequences;
  for (size_t i = 0; i < 1 + tenant % 3; ++i) {
    const auto length = static_cast<int64_t>(2 + (tenant * 13 + i * 29 + static_cast<size_t>(step) * 7) % 69);
    sequences.push_back(
        {tiny_tokens(length, 1000 * tenant + 10 * i + static_cast<uint64_t>(step)), slot, tenant != kUnsupervised});
  }
  return sequences;
}

Tenant new_tenant(const Model& model, size_t i) {
  const auto adapter = random_adapter(model, RedVariant::all, 100 * i + 1);
  if (i == kNotFinite) adapter->parameters()[1].master.data<float>()[3] = std::numeric_limits<float>::quiet_NaN();
  Tenant tenant{adapter, adapter, std::make_shared<OptimizerState>(*adapter), {}, i % 2 == 0 ? 0.5 : 0.0};
  tenant.options.learning_rate = 1e-2 * static_cast<double>(1 + i % 5);
  tenant.options.weight_decay = i % 4 == 0 ? 0.1 : 0.0;
  return tenant;
}

// What a run made of a tenant, in bytes.
struct Made {
  std::vector<Tensor> tensors;
  std::vector<double> numbers;  // by step: loss, norm, supervised and correct tokens
  std::string code;             // of the last step
  int64_t step = 0;
};

void add_outcome(Made& made, const TenantOutcome& outcome) {
  made.code = outcome.error ? outcome.error->code() : "";
  if (outcome.error) return;
  const TenantResult& result = outcome.result;
  for (const double number :
       {result.loss, result.grad_norm, static_cast<double>(result.supervised), static_cast<double>(result.correct)})
    made.numbers.push_back(number);
}

void add_state(Made& made, const Tenant& tenant) {
  made.tensors = {tenant.adapter->values().copied_to(test_arena()), tenant.optimizer->whole.m.copied_to(test_arena()),
                  tenant.optimizer->whole.v.copied_to(test_arena())};
  made.step = tenant.optimizer->step;
}

JobControl control() { return {nullptr, {}, test_arena()}; }

Made alone(Model& model, size_t i) {
  const Tenant tenant = new_tenant(model, i);
  Made made;
  for (int step = 0; step < kSteps; ++step)
    add_outcome(made, train_step(model, {tenant}, {batch_of(sequences_of(i, step, 1))}, {}, control()).front());
  add_state(made, tenant);
  return made;
}

// All tenants in shared steps; the flag of one is set before the first step, and of another before the first update.
std::vector<Made> together(Model& model, const StepOptions& options) {
  std::vector<Tenant> tenants;
  for (size_t i = 0; i < kTenants; ++i) tenants.push_back(new_tenant(model, i));
  const auto before = std::make_shared<std::atomic<bool>>(true), during = std::make_shared<std::atomic<bool>>(false);
  tenants[kCancelledBefore].cancelled = before;
  tenants[kCancelledDuring].cancelled = during;
  std::vector<Made> made(kTenants);
  for (int step = 0; step < kSteps; ++step) {
    // Sequences of different tenants take turns, in two micro-batches.
    std::vector<std::vector<Sequence>> halves(2);
    for (size_t turn = 0; turn < 3; ++turn)
      for (size_t i = 0; i < kTenants; ++i) {
        const auto own = sequences_of(i, step, static_cast<int32_t>(i) + 1);
        if (turn < own.size()) halves[turn == 2].push_back(own[turn]);
      }
    JobControl job = control();
    job.observer = [&](const char* op, bool) {
      if (std::string(op) == "update") during->store(true);
    };
    const auto outcomes = train_step(model, tenants, {batch_of(halves[0]), batch_of(halves[1])}, options, job);
    REQUIRE(outcomes.size() == kTenants);
    for (size_t i = 0; i < kTenants; ++i) add_outcome(made[i], outcomes[i]);
  }
  for (size_t i = 0; i < kTenants; ++i) add_state(made[i], tenants[i]);
  return made;
}

bool same(const Made& a, const Made& b) {
  if (a.code != b.code || a.step != b.step || a.numbers != b.numbers || a.tensors.size() != b.tensors.size())
    return false;
  for (size_t i = 0; i < a.tensors.size(); ++i)
    if (!same_bits(a.tensors[i], b.tensors[i])) return false;
  return true;
}

// The tenant is as it was before the first step.
void check_untouched(const Model& model, size_t i, const Made& made) {
  const Tenant fresh = new_tenant(model, i);
  Made before;
  before.code = made.code;
  add_state(before, fresh);
  CHECK(same(made, before));
}

}  // namespace

TEST_CASE("64 tenants of a step get the bytes of their runs alone, whatever is wrong with some") {
  on_every_path([] {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      CAPTURE(dtype_name(dtype));
      auto model = tiny_model({}, dtype, dtype);
      std::vector<Made> expected;
      for (size_t i = 0; i < kTenants; ++i) expected.push_back(alone(*model, i));
      CHECK(expected[kNotFinite].code == "ERR_NOT_FINITE");
      CHECK(expected[kUnsupervised].code == "ERR_DATA");
      for (const auto& [threads, max_rows] : {std::pair(2, 64), {1, 0}, {3, 1}, {2, 1000}}) {
        if (few_cases() && max_rows != 64) break;
        const PoolSize size(threads);
        CAPTURE(threads);
        CAPTURE(max_rows);
        const auto made = together(*model, {max_rows == 64, true, max_rows});
        for (size_t i = 0; i < kTenants; ++i) {
          CAPTURE(i);
          if (i == kCancelledBefore || i == kCancelledDuring) {
            CHECK(made[i].code == "ERR_ABORTED");
            check_untouched(*model, i, made[i]);
          } else {
            CHECK(same(made[i], expected[i]));
          }
        }
        for (const size_t i : {kNotFinite, kUnsupervised}) check_untouched(*model, i, made[i]);
      }
    }
  });
}

TEST_CASE("what concerns all tenants throws and changes none") {
  auto model = tiny_model({});
  const std::vector<Tenant> tenants = {new_tenant(*model, 0), new_tenant(*model, 1)};
  const MicroBatch batch = tiny_batch({tiny_tokens(20, 1), tiny_tokens(30, 2)}, {1, 2});
  JobControl job = control();
  job.check_weights = [] { fail("ERR_FILE", "changed"); };
  CHECK(error_code([&] { train_step(*model, tenants, {batch}, {}, job); }) == "ERR_FILE");
  std::atomic<bool> cancelled{true};
  job = control();
  job.cancelled = &cancelled;
  CHECK(error_code([&] { train_step(*model, tenants, {batch}, {}, job); }) == "ERR_ABORTED");
  for (size_t i = 0; i < 2; ++i) {
    Made made;
    add_state(made, tenants[i]);
    check_untouched(*model, i, made);
  }
  CHECK(error_code([&] { train_step(*model, tenants, {batch}, {.max_rows = -1}, control()); }) == "ERR_ARGUMENT");
}

TEST_CASE("an update that is not finite is its tenant's alone") {
  auto model = tiny_model({});
  std::vector<Tenant> tenants = {new_tenant(*model, 1), new_tenant(*model, 2), new_tenant(*model, 3)};
  tenants[1].options.learning_rate = 3e38;
  tenants[1].options.weight_decay = 1e6;
  const MicroBatch batch = tiny_batch({tiny_tokens(20, 1), tiny_tokens(20, 1), tiny_tokens(20, 1)}, {1, 2, 3});
  const auto outcomes = train_step(*model, tenants, {batch}, {}, control());
  REQUIRE(outcomes[1].error);
  CHECK(std::string(outcomes[1].error->code()) == "ERR_NOT_FINITE");
  CHECK(!outcomes[0].error);
  CHECK(!outcomes[2].error);
  CHECK(tenants[0].optimizer->step == 1);
  CHECK(tenants[1].optimizer->step == 0);
  CHECK(tenants[2].optimizer->step == 1);
  CHECK(!tenants[1].optimizer->half_updated);
  Made made;
  made.code = "";
  add_state(made, tenants[1]);
  check_untouched(*model, 2, made);
}

TEST_CASE("the evaluation of an adapter has the same bits alone, beside one with a NaN, and for any micro-batches") {
  auto model = tiny_model({});
  const auto sound = random_adapter(*model, RedVariant::all, 1), broken = new_tenant(*model, kNotFinite).adapter;
  const auto a = tiny_tokens(50, 1), b = tiny_tokens(9, 2), c = tiny_tokens(33, 3);
  const SlotSums alone = evaluate(*model, {sound}, {tiny_batch({a, b}, {1, 1})}, 0, control());
  for (const int64_t max_rows : {0, 10, 55, 1000}) {
    const SlotSums sums = evaluate(*model, {broken, sound},
                                   {tiny_batch({c, a, c}, {1, 2, 0}), tiny_batch({c, b}, {1, 2})}, max_rows, control());
    CHECK(sums.nats[2] == alone.nats[1]);
    CHECK(sums.supervised[2] == alone.supervised[1]);
    CHECK(sums.correct[2] == alone.correct[1]);
    CHECK(std::isnan(sums.nats[1]));
    CHECK(std::isfinite(sums.nats[0]));
  }
}
