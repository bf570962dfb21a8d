// Engines for tests: a driver that takes turns by hand and gathers what each request answered.
#pragma once

#include <bit>
#include <functional>
#include <limits>
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
  std::vector<float> score_tops, tops;  // ids and log-probabilities of the likeliest, of scored and of generated tokens
  bool started = false, ended = false;
  EngineOutputs::Kind end = EngineOutputs::Kind::started;
  int32_t value = 0;
  std::string code;  // of a failure

  std::string text() const {
    std::string all;
    for (const int32_t id : ids) all += std::to_string(id) + " ";
    for (const auto* numbers : {&scores, &score_tops, &tops})
      for (const float number : *numbers) all += std::to_string(std::bit_cast<uint32_t>(number)) + " ";
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
    int32_t scored = 0;  // tokens of the last scores
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
        const auto first = outputs.numbers.begin() + cell[3];
        answer.log_probs.push_back(*first);
        answer.tops.insert(answer.tops.end(), first + 1, first + 1 + 2 * cell[2]);
      } else if (kind == EngineOutputs::Kind::scores) {
        REQUIRE(answer.ids.empty());
        const auto first = outputs.numbers.begin() + cell[3];
        answer.scores.insert(answer.scores.end(), first, first + cell[2]);
        scored = cell[2];
      } else if (kind == EngineOutputs::Kind::score_tops) {
        const auto first = outputs.numbers.begin() + cell[3];
        answer.score_tops.insert(answer.score_tops.end(), first, first + 2 * cell[2] * scored);
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

// A model, and adapters of all kinds.
struct Base {
  std::shared_ptr<const Model> model;
  // By adapter, then by version: a replaced version differs from the one before it.
  std::vector<std::vector<std::shared_ptr<const AdapterVersion>>> adapters;
};

inline Base base_of(DType dtype) {
  Base base;
  const TinyConfig config{.vocabulary = 97, .layers = 3, .context = 200};
  base.model = tiny_model(config, dtype, dtype);
  const auto add = [&](RedVariant variant, uint64_t seed, const std::vector<Site>& sites) {
    base.adapters.push_back(
        {random_version(*base.model, variant, seed, sites), random_version(*base.model, variant, seed + 100, sites)});
  };
  add(RedVariant::all, 1, all_sites());
  add(RedVariant::all, 2, {Site::down_proj});
  add(RedVariant::scale, 3, {Site::down_proj, Site::q_proj});
  add(RedVariant::bias, 4, {Site::v_proj, Site::gate_proj});
  add(RedVariant::ln, 5, {Site::down_proj});
  add(RedVariant::ln, 6, {Site::o_proj, Site::k_proj});
  // Vectors that are not numbers: its requests fail alone.
  const auto broken = red_adapter(base.model->architecture(), RedVariant::all, {Site::down_proj}, {1});
  broken->parameters()[0].master.data<float>()[3] = std::numeric_limits<float>::quiet_NaN();
  base.adapters.push_back({AdapterVersion::of(*broken), AdapterVersion::of(*broken)});
  return base;
}

inline EngineRequest request_of(int64_t length, int32_t max_new, uint64_t seed = 1) {
  EngineRequest request;
  request.prompt = tiny_tokens(length, seed, 97);
  request.max_new = max_new;
  return request;
}

}  // namespace rubricate::testing
