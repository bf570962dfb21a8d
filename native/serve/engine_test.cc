// The rules of the engine, one by one.
#include "serve/engine.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <vector>

#include "doctest/doctest.h"
#include "tests/serve_support.h"

using namespace rubricate;
using namespace rubricate::testing;
using Kind = EngineOutputs::Kind;

TEST_CASE("requests beyond those that may be under way are refused, and there is room again when one ends") {
  const Base base = base_of(DType::f32);
  EngineOptions options;
  options.max_sequences = 1;
  options.max_queue = 2;
  Served served(base.model, std::move(options));
  for (int i = 0; i < 3; ++i) CHECK(served.engine->submit(request_of(5, 2)) == i);
  CHECK(served.engine->submit(request_of(5, 2)) == -1);
  served.run();
  CHECK(served.engine->under_way() == 0);
  CHECK(served.engine->submit(request_of(5, 2)) == 3);
}

TEST_CASE("a request that is wrong, or could never fit, is refused with its code") {
  const Base base = base_of(DType::f32);
  EngineOptions options;
  options.pages = 2;
  Served served(base.model, std::move(options));
  const auto code = [&](const std::function<void(EngineRequest&)>& change) {
    EngineRequest request = request_of(5, 2);
    change(request);
    return error_code([&] { served.engine->submit(std::move(request)); });
  };
  CHECK(code([](EngineRequest&) {}) == "");
  CHECK(code([](EngineRequest& r) { r.prompt.clear(); }) == "ERR_ARGUMENT");
  CHECK(code([](EngineRequest& r) { r.prompt[1] = 97; }) == "ERR_ARGUMENT");
  CHECK(code([](EngineRequest& r) { r.max_new = 0; }) == "ERR_ARGUMENT");
  CHECK(code([](EngineRequest& r) { r.weight = 0.0f; }) == "ERR_ARGUMENT");
  for (const int32_t from : {-2, 0, 5, INT32_MAX})
    CHECK(code([from](EngineRequest& r) { r.score_from = from; }) == "ERR_ARGUMENT");
  CHECK(code([](EngineRequest& r) { r.sampling.top_p = 2.0f; }) == "ERR_ARGUMENT");
  CHECK(code([](EngineRequest& r) { r.top_log_probs = 21; }) == "ERR_ARGUMENT");
  CHECK(code([](EngineRequest& r) { r.prompt = tiny_tokens(201, 1, 97); }) == "ERR_CONTEXT_LENGTH");
  CHECK(code([](EngineRequest& r) { r.max_new = 124; }) == "");  // 128 positions: the last token is not computed
  CHECK(code([](EngineRequest& r) { r.max_new = 125; }) == "ERR_CACHE_FULL");
  const auto other = tiny_model({.vocabulary = 97, .hidden = 36});
  CHECK(code([&](EngineRequest& r) { r.version = random_version(*other, RedVariant::all, 1, {Site::down_proj}); }) ==
        "ERR_SHAPE");
  served.run();
  CHECK(served.engine->stats().generated_tokens == 2 + 124);
}

TEST_CASE("an answer ends at a stop id, at its length, and when the context is full") {
  const Base base = base_of(DType::f32);
  const std::vector<int32_t> ids = alone(base.model, request_of(7, 12)).ids;
  EngineRequest stopping = request_of(7, 12);
  size_t first = 0;  // the first id that did not occur before
  while (first < 4) ++first;
  stopping.stop_ids = {ids[first]};
  const auto at = std::find(ids.begin(), ids.end(), ids[first]) - ids.begin();
  const Answer stopped = alone(base.model, stopping);
  CHECK(stopped.end == Kind::stopped);
  CHECK(stopped.value == ids[first]);
  CHECK(stopped.ids == std::vector<int32_t>(ids.begin(), ids.begin() + at));
  CHECK(alone(base.model, request_of(7, 12)).end == Kind::length);
  const Answer full = alone(base.model, request_of(195, 12));
  CHECK(full.end == Kind::context);
  CHECK(full.ids.size() == 5);
  CHECK(alone(base.model, request_of(195, 5)).end == Kind::length);
  const Answer none = alone(base.model, request_of(200, 12));
  CHECK(none.end == Kind::context);
  CHECK(none.ids.empty());
}

TEST_CASE("a sequence stops when it is so far ahead of its reader, and others go on") {
  const Base base = base_of(DType::f32);
  EngineOptions options;
  options.ahead = 4;
  Served served(base.model, std::move(options));
  const int32_t slow = served.engine->submit(request_of(5, 20, 1));
  const int32_t other = served.engine->submit(request_of(5, 20, 2));
  const auto turn = [&] {
    served.turn(false);
    served.engine->taken(other, 1);
  };
  for (int i = 0; i < 60; ++i) turn();
  CHECK(served.answer(slow).ids.size() == 4);
  CHECK(served.answer(other).ended);
  served.turn(false);
  CHECK(!served.engine->wants());
  served.engine->taken(slow, 3);
  CHECK(served.engine->wants());
  for (int i = 0; i < 10; ++i) served.turn(false);
  CHECK(served.answer(slow).ids.size() == 7);
  served.engine->taken(slow, 1000);
  served.run();
  CHECK(served.answer(slow).ids == alone(base.model, request_of(5, 20, 1)).ids);
}

TEST_CASE("a paused sequence gives its pages to one that waits, and continues with the same ids when it is read") {
  const Base base = base_of(DType::f32);
  EngineOptions options;
  options.pages = 2;
  options.ahead = 2;
  options.share_prefixes = false;
  Served served(base.model, std::move(options));
  const int32_t slow = served.engine->submit(request_of(60, 20, 1));
  for (int i = 0; i < 5; ++i) served.turn(false);
  CHECK(served.answer(slow).ids.size() == 2);
  const int32_t other = served.engine->submit(request_of(100, 2, 2));
  served.run();
  CHECK(served.answer(other).ended);
  CHECK(served.engine->stats().put_out == 1);
  CHECK(!served.answer(slow).ended);
  served.engine->taken(slow, 1000);
  served.run();
  CHECK(served.answer(slow).ids == alone(base.model, request_of(60, 20, 1)).ids);
}

TEST_CASE("a deadline ends a request that waits, runs, or is not read, and the queue is told when") {
  const Base base = base_of(DType::f32);
  EngineOptions options;
  options.max_sequences = 1;
  options.ahead = 3;
  Served served(base.model, std::move(options));
  EngineRequest request = request_of(5, 100, 1);
  request.deadline_ns = served.now + 50'000'000;
  const int32_t running = served.engine->submit(request);
  for (int i = 0; i < 6; ++i) served.turn(false);
  CHECK(served.answer(running).ids.size() == 3);
  CHECK(!served.engine->wants());
  CHECK(served.engine->due_in() == request.deadline_ns - served.now);
  served.now = request.deadline_ns;
  CHECK(served.engine->wants());
  served.turn();
  CHECK(served.answer(running).code == "ERR_DEADLINE");
  CHECK(served.engine->due_in() == -1);
}

TEST_CASE("closing ends all requests with the given error, also those that wait, and refuses later ones") {
  const Base base = base_of(DType::f32);
  EngineOptions options;
  options.max_sequences = 1;
  Served served(base.model, std::move(options));
  const int32_t first = served.engine->submit(request_of(5, 100)), second = served.engine->submit(request_of(5, 100));
  served.turn();
  const int32_t third = served.engine->submit(request_of(5, 100));
  served.engine->close({"ERR_DISPOSED", "The model was disposed of"});
  served.turn();
  for (const int32_t id : {first, second, third}) CHECK(served.answer(id).code == "ERR_DISPOSED");
  CHECK(error_code([&] { served.engine->submit(request_of(5, 1)); }) == "ERR_DISPOSED");
  CHECK(served.engine->stats().free_pages + served.engine->stats().cached_pages == 64);
}

TEST_CASE("a beginning that another request of the domain and version computed is found; in other domains it is not") {
  const Base base = base_of(DType::f32);
  Served served(base.model);
  const auto found = [&](uint64_t domain, const std::shared_ptr<const AdapterVersion>& version, int64_t length) {
    const int64_t before = served.engine->stats().found_tokens;
    EngineRequest request = request_of(length, 3, 1);
    request.domain = domain;
    request.version = version;
    const int32_t id = served.engine->submit(request);
    served.run();
    CHECK(served.answer(id).ids == alone(base.model, request).ids);
    return served.engine->stats().found_tokens - before;
  };
  const auto& adapter = base.adapters[0];
  CHECK(found(0, nullptr, 140) == 0);
  CHECK(found(0, nullptr, 140) == 128);
  CHECK(found(0, nullptr, 128) == 64);  // the last token is computed
  CHECK(found(1, nullptr, 140) == 0);
  CHECK(found(0, adapter[0], 140) == 0);
  CHECK(found(0, adapter[1], 140) == 0);
  CHECK(found(0, adapter[0], 100) == 64);
}

TEST_CASE("log-probabilities come with each token, whatever shares the step") {
  const Base base = base_of(DType::f32);
  const auto numbers = [&](bool company) {
    Engine engine(
        base.model, nullptr,
        [] {
          EngineOptions options;
          options.pages = 64;
          return options;
        }(),
        [] {});
    EngineRequest request = request_of(9, 6);
    request.top_log_probs = 2;
    if (company) engine.submit(request_of(80, 9, 3));
    const int32_t id = engine.submit(request);
    for (int i = 0; i < 40; ++i) engine.turn();
    EngineOutputs outputs;
    engine.drain(outputs);
    std::vector<float> own;
    for (size_t row = 0; row < outputs.rows.size(); row += 4) {
      const int32_t* const cell = outputs.rows.data() + row;
      if (cell[0] != id || cell[1] != static_cast<int32_t>(Kind::log_probs)) continue;
      CHECK(cell[2] == 2);
      const auto first = outputs.numbers.begin() + cell[3];
      own.insert(own.end(), first, first + 5);
      CHECK(first[1] == static_cast<float>(outputs.rows[row - 2]));  // greedy: the token is the likeliest
      CHECK(first[0] == first[2]);
      CHECK(first[2] >= first[4]);
    }
    CHECK(own.size() == 6 * 5);
    return own;
  };
  CHECK(numbers(false) == numbers(true));
}

TEST_CASE("a step that finds too little memory is halved, and a request that needs it alone ends") {
  const Base base = base_of(DType::f32);
  int failures = 0;
  EngineOptions options;
  options.check_weights = [&] {
    if (failures-- > 0) fail("ERR_OUT_OF_MEMORY", "Memory could not be allocated");
  };
  Served served(base.model, std::move(options));
  const int32_t one = served.engine->submit(request_of(40, 5, 1)), two = served.engine->submit(request_of(3, 5, 2));
  failures = 4;
  served.run();
  CHECK(served.answer(one).ids == alone(base.model, request_of(40, 5, 1)).ids);
  CHECK(served.answer(two).ids == alone(base.model, request_of(3, 5, 2)).ids);
  failures = 1000;
  const int32_t third = served.engine->submit(request_of(3, 5, 2));
  served.run();
  CHECK(served.answer(third).code == "ERR_OUT_OF_MEMORY");
}

TEST_CASE("weights that changed on disk end every request") {
  const Base base = base_of(DType::f32);
  EngineOptions options;
  options.max_sequences = 1;
  bool changed = false;
  options.check_weights = [&] { require(!changed, "ERR_FILE", "The file changed"); };
  Served served(base.model, std::move(options));
  const int32_t running = served.engine->submit(request_of(4, 50)), waiting = served.engine->submit(request_of(4, 50));
  served.turn();
  changed = true;
  served.run();
  CHECK(served.answer(running).code == "ERR_FILE");
  CHECK(served.answer(waiting).code == "ERR_FILE");
}

TEST_CASE("outputs are told once until they are read") {
  const Base base = base_of(DType::f32);
  Served served(base.model);
  served.engine->submit(request_of(4, 20));
  for (int i = 0; i < 3; ++i) served.engine->turn();
  CHECK(served.told == 1);
  served.drain();
  served.engine->turn();
  CHECK(served.told == 2);
}
