// The engine on random schedules, each of whose requests must answer what it answers alone.
#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "doctest/doctest.h"
#include "serve/engine.h"
#include "tests/serve_support.h"

using namespace rubricate;
using namespace rubricate::testing;

namespace {

// Integers of a seed.
class Draws {
 public:
  explicit Draws(uint64_t seed) : seed_(seed) {}
  int64_t below(int64_t count) {
    return static_cast<int64_t>(philox_uniform(seed_, 11, next_++) * static_cast<double>(count));
  }
  bool one_in(int64_t count) { return below(count) == 0; }

 private:
  uint64_t seed_, next_ = 0;
};

EngineRequest random_request(const Base& base, Draws& draws, bool replaced) {
  EngineRequest request;
  // Few beginnings, so that some are shared.
  request.prompt = tiny_tokens(1 + draws.below(draws.one_in(3) ? 150 : 40), static_cast<uint64_t>(draws.below(3)), 97);
  const int64_t adapter = draws.below(static_cast<int64_t>(base.adapters.size()) + 2) - 2;
  if (adapter >= 0) request.version = base.adapters[static_cast<size_t>(adapter)][replaced];
  request.max_new = 1 + static_cast<int32_t>(draws.below(30));
  if (draws.one_in(2)) {
    request.sampling.temperature = 0.8f;
    request.sampling.seed = static_cast<uint64_t>(draws.below(1000));
    if (draws.one_in(2)) request.sampling.repetition_penalty = 1.3f;
    if (draws.one_in(2)) request.sampling.presence_penalty = 0.5f;
  }
  if (draws.one_in(3))
    request.stop_ids = {static_cast<int32_t>(draws.below(97)), static_cast<int32_t>(draws.below(97))};
  request.tenant = static_cast<uint32_t>(draws.below(3));
  request.weight = request.tenant == 2 ? 3.0f : 1.0f;
  request.domain = static_cast<uint64_t>(draws.below(2));
  if (const auto prompt = static_cast<int64_t>(request.prompt.size()); prompt > 1 && draws.one_in(3)) {
    request.score_from = 1 + static_cast<int32_t>(draws.below(prompt - 1));
    if (draws.one_in(2)) request.max_new = 0;
  }
  if (draws.one_in(3)) request.top_log_probs = static_cast<int32_t>(draws.below(6));
  return request;
}

template <typename T>
bool is_beginning(const std::vector<T>& part, const std::vector<T>& whole) {
  return part.size() <= whole.size() && std::equal(part.begin(), part.end(), whole.begin());
}

// What requests answer alone; equal ones are asked once.
class Alone {
 public:
  explicit Alone(const Base& base) : base_(base) {}
  const Answer& of(const EngineRequest& request) {
    std::string key =
        std::to_string(request.version ? request.version->id() : 0) + " " + std::to_string(request.max_new) + " " +
        std::to_string(request.sampling.temperature) + " " + std::to_string(request.sampling.seed) + " " +
        std::to_string(request.sampling.repetition_penalty) + " " + std::to_string(request.sampling.presence_penalty) +
        " " + std::to_string(request.score_from) + " " + std::to_string(request.top_log_probs) + ":";
    for (const auto* ids : {&request.prompt, &request.stop_ids})
      for (const int32_t id : *ids) key += std::to_string(id) + ",";
    auto [found, added] = answers_.try_emplace(key);
    if (added) {
      EngineRequest unhurried = request;
      unhurried.deadline_ns = 0;
      found->second = alone(base_.model, unhurried);
    }
    return found->second;
  }

 private:
  const Base& base_;
  std::map<std::string, Answer> answers_;
};

struct Asked {
  EngineRequest request;
  bool reads = true, aborted = false;
};

EngineOptions random_options(Draws& draws) {
  EngineOptions options;
  options.pages = 4 + draws.below(12);  // a context takes four
  options.max_sequences = static_cast<int32_t>(1 + draws.below(8));
  options.max_queue = static_cast<int32_t>(draws.below(20));
  options.ahead = static_cast<int32_t>(1 + draws.below(12));
  options.step_ns = 1 + draws.below(100'000'000);
  options.share_prefixes = !draws.one_in(4);
  if (draws.one_in(3)) options.order = std::make_unique<ArrivalOrder>();
  return options;
}

void run_schedule(const Base& base, Alone& alone, uint64_t seed) {
  Draws draws(seed);
  Served served(base.model, random_options(draws));
  std::map<int32_t, Asked> asked;
  const int64_t requests = 6 + draws.below(14);
  for (int64_t turns = 0, come = 0; turns < 5000; ++turns) {
    while (come < requests && draws.one_in(2)) {
      Asked one{random_request(base, draws, come > requests / 2), !draws.one_in(4), false};
      if (draws.one_in(6)) one.request.deadline_ns = served.now + draws.below(30'000'000);
      const int32_t id = served.engine->submit(one.request);
      if (id >= 0) asked.emplace(id, std::move(one));
      ++come;
    }
    if (!asked.empty() && draws.one_in(12)) {
      const auto picked = std::next(asked.begin(), draws.below(static_cast<int64_t>(asked.size())));
      picked->second.aborted = true;
      served.engine->abort(picked->first);
    }
    served.turn(false);
    for (auto& [id, one] : asked) {  // slow readers take a token now and then
      const auto produced = static_cast<int64_t>(served.answers[id].ids.size());
      if (produced > 0 && (one.reads || draws.one_in(3)))
        served.engine->taken(id, 1 + static_cast<int32_t>(draws.below(3)));
    }
    if (come == requests && served.engine->under_way() == 0) break;
  }
  REQUIRE(served.engine->under_way() == 0);
  for (const auto& [id, one] : asked) {
    CAPTURE(id);
    const Answer& got = served.answer(id);
    const Answer& expected = alone.of(one.request);
    REQUIRE(got.ended);
    const bool stopped = got.code == "ERR_ABORTED" || got.code == "ERR_DEADLINE";
    if (stopped) {
      CHECK((got.code == "ERR_ABORTED" ? one.aborted : one.request.deadline_ns != 0));
      CHECK(is_beginning(got.ids, expected.ids));
      CHECK(is_beginning(got.scores, expected.scores));
      CHECK(is_beginning(got.score_tops, expected.score_tops));
      CHECK(is_beginning(got.tops, expected.tops));
    } else {
      CHECK(got.text() == expected.text());
    }
  }
  const EngineStats stats = served.engine->stats();
  CHECK(stats.free_pages + stats.cached_pages == stats.pages);
  CHECK(stats.running + stats.waiting == 0);
}

// Some in every run of the tests; as many as RUBRICATE_SCHEDULES says.
int64_t schedules() {
  const char* const given = std::getenv("RUBRICATE_SCHEDULES");
  return given != nullptr ? std::atoll(given) : few_cases() ? 1 : 60;
}

}  // namespace

TEST_CASE("random schedules: every request that ended answers what it answers alone") {
  if (present_device()) return;
  const int64_t count = schedules();
  uint64_t seed = 0;
  const auto paths = static_cast<int64_t>(tested_cpu_paths().size());
  on_every_setting([&] {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      const Base base = base_of(dtype);
      Alone expected(base);
      for (int64_t i = 0; i < std::max<int64_t>(1, count / (paths * 6)); ++i) {
        ++seed;
        CAPTURE(seed);
        run_schedule(base, expected, seed);
      }
    }
  });
}
