// Engines for tests: a driver that takes turns by hand and gathers what each request answered.
#pragma once

#include <bit>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "serve/engine.h"
#include "tests/test_model.h"

namespace rubricate::testing {

struct Answer {
  std::vector<int32_t> ids;
  std::vector<float> scores, log_probs;
  bool started = false, ended = false;
  EngineOutputs::Kind end = EngineOutputs::Kind::started;
  int32_t value = 0;
  std::string code;  // of a failure

  std::string text() const {
    std::string all;
    for (const int32_t id : ids) all += std::to_string(id) + " ";
    for (const float score : scores) all += std::to_string(std::bit_cast<uint32_t>(score)) + " ";
    return all + "| " + std::to_string(static_cast<int>(end)) + " " + code;
  }
};

// An engine whose turns the test takes, on a clock that advances by a millisecond a turn.
class Served {
 public:
  explicit Served(std::shared_ptr<const Model> model, EngineOptions options = {}) {
    if (options.pages == 0) options.pages = 64;
    options.clock = [this] { return now; };
    engine = std::make_unique<Engine>(std::move(model), present_device(), std::move(options), [this] { ++told; });
  }
  // One turn, the invariants, and the outputs.
  void turn(bool reads = true) {
    engine->turn();
    engine->check();
    now += 1'000'000;
    drain(reads);
  }
  void drain(bool reads = true) {
    EngineOutputs outputs;
    engine->drain(outputs);
    for (size_t row = 0; row < outputs.rows.size(); row += EngineOutputs::kColumns) {
      const int32_t* const cell = outputs.rows.data() + row;
      Answer& answer = answers[cell[0]];
      const auto kind = static_cast<EngineOutputs::Kind>(cell[1]);
      REQUIRE(!answer.ended);
      if (kind == EngineOutputs::Kind::started) {
        REQUIRE(!answer.started);
        answer.started = true;
      } else if (kind == EngineOutputs::Kind::token) {
        REQUIRE(cell[3] == static_cast<int32_t>(answer.ids.size()));
        answer.ids.push_back(cell[2]);
        if (reads) engine->taken(cell[0], 1);
      } else if (kind == EngineOutputs::Kind::log_probs) {
        answer.log_probs.push_back(outputs.numbers.at(static_cast<size_t>(cell[3])));
      } else if (kind == EngineOutputs::Kind::scores) {
        REQUIRE(answer.ids.empty());
        const auto first = outputs.numbers.begin() + cell[3];
        answer.scores.insert(answer.scores.end(), first, first + cell[2]);
      } else {
        REQUIRE(cell[3] == static_cast<int32_t>(answer.ids.size()));
        answer.ended = true;
        answer.end = kind;
        answer.value = cell[2];
        if (kind == EngineOutputs::Kind::failed) answer.code = outputs.errors.at(static_cast<size_t>(cell[2])).code;
      }
    }
  }
  // Turns until nothing is wanted. Returns how many.
  int run(int most = 100000) {
    int turns = 0;
    for (; engine->wants() && turns < most; ++turns) turn();
    REQUIRE(turns < most);
    return turns;
  }
  const Answer& answer(int32_t request) { return answers[request]; }

  int64_t now = 1;
  int told = 0;
  std::unique_ptr<Engine> engine;
  std::map<int32_t, Answer> answers;
};

inline std::shared_ptr<const AdapterVersion> random_version(const Model& model, RedVariant variant, uint64_t seed,
                                                            const std::vector<Site>& sites = all_sites()) {
  return AdapterVersion::of(*random_adapter(model, variant, seed, sites));
}

// What the request answers when it is alone.
inline Answer alone(const std::shared_ptr<const Model>& model, EngineRequest request) {
  Served served(model);
  const int32_t id = served.engine->submit(std::move(request));
  served.run();
  return served.answer(id);
}

}  // namespace rubricate::testing
