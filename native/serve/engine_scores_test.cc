// Requests that score their prompts: the numbers are those of a generation, whatever shares the steps.
#include "doctest/doctest.h"
#include "tests/serve_support.h"

using namespace rubricate;
using namespace rubricate::testing;
using Kind = EngineOutputs::Kind;

TEST_CASE("scores are the log-probabilities that a generation tells of the same tokens, of each version") {
  const Base base = base_of(DType::f32);
  for (const auto& version : {std::shared_ptr<const AdapterVersion>(), base.adapters[0][0], base.adapters[4][1]}) {
    EngineRequest request = request_of(70, 90);
    request.version = version;
    request.top_log_probs = 0;
    Served served(base.model);
    const int32_t id = served.engine->submit(request);
    served.run();
    const Answer generated = served.answer(id);
    REQUIRE(generated.log_probs.size() == 90);
    request.prompt.insert(request.prompt.end(), generated.ids.begin(), generated.ids.end());
    request.score_from = 70;
    request.max_new = 0;
    CHECK(alone(base.model, request).scores == generated.log_probs);
    // Beside others, and with keys and values of before the first token to score, which were found.
    const int64_t before = served.engine->stats().found_tokens;
    const int32_t again = served.engine->submit(request), other = served.engine->submit(request_of(150, 9, 3));
    served.run();
    CHECK(served.answer(again).scores == generated.log_probs);
    CHECK(served.answer(again).end == Kind::length);
    CHECK(served.answer(again).ids.empty());
    CHECK(served.engine->stats().found_tokens - before == 64);
    CHECK(served.answer(other).text() == alone(base.model, request_of(150, 9, 3)).text());
  }
}

TEST_CASE(
    "the likeliest tokens in the place of a scored one are those that a generation tells, whatever shares the steps") {
  const Base base = base_of(DType::f32);
  for (const auto& version : {std::shared_ptr<const AdapterVersion>(), base.adapters[0][0], base.adapters[4][1]}) {
    EngineRequest request = request_of(70, 90);
    request.version = version;
    request.top_log_probs = 5;
    const Answer generated = alone(base.model, request);
    REQUIRE(generated.tops.size() == 90 * 2 * 5);
    request.prompt.insert(request.prompt.end(), generated.ids.begin(), generated.ids.end());
    request.score_from = 70;
    request.max_new = 0;
    EngineRequest plain = request, few = request;
    plain.top_log_probs = -1;
    few.top_log_probs = 2;
    const Answer single = alone(base.model, request);
    CHECK(single.score_tops == generated.tops);
    CHECK(single.scores == generated.log_probs);
    Served served(base.model);
    const int32_t with = served.engine->submit(request), without = served.engine->submit(plain),
                  two = served.engine->submit(few), stream = served.engine->submit(request_of(150, 9, 3));
    served.run();
    CHECK(served.answer(with).text() == single.text());
    CHECK(served.answer(without).scores == single.scores);
    CHECK(served.answer(without).score_tops.empty());
    for (size_t i = 0; i < 90; ++i)
      for (size_t k = 0; k < 4; ++k)
        REQUIRE(served.answer(two).score_tops.at(4 * i + k) == single.score_tops.at(10 * i + k));
    CHECK(served.answer(stream).text() == alone(base.model, request_of(150, 9, 3)).text());
  }
}

TEST_CASE("a request may score its prompt and generate, fill the context, and be scored alone though it fills it") {
  const Base base = base_of(DType::f32);
  EngineRequest request = request_of(200, 0);
  request.score_from = 1;
  const Answer whole = alone(base.model, request);
  CHECK(whole.scores.size() == 199);
  CHECK(whole.end == Kind::length);
  request.score_from = 199;
  CHECK(alone(base.model, request).scores == std::vector<float>{whole.scores.back()});
  request.prompt.resize(150);
  request.score_from = 60;
  request.max_new = 3;
  const Answer both = alone(base.model, request);
  CHECK(both.scores == std::vector<float>(whole.scores.begin() + 59, whole.scores.begin() + 149));
  EngineRequest plain = request_of(200, 3);
  plain.prompt.resize(150);
  CHECK(both.ids == alone(base.model, plain).ids);
}

TEST_CASE("a request whose scores are not numbers fails alone") {
  const Base base = base_of(DType::f32);
  Served served(base.model);
  EngineRequest request = request_of(40, 0);
  request.score_from = 1;
  const int32_t good = served.engine->submit(request);
  request.top_log_probs = 3;
  const int32_t good_too = served.engine->submit(request);
  for (const int32_t top : {-1, 20}) {
    request.top_log_probs = top;
    request.version = base.adapters.back()[0];
    const int32_t bad = served.engine->submit(request);
    served.run();
    CHECK(served.answer(bad).code == "ERR_NOT_FINITE");
    CHECK(served.answer(bad).score_tops.empty());
  }
  CHECK(served.answer(good).scores.size() == 39);
  CHECK(served.answer(good_too).score_tops.size() == 39 * 2 * 3);
}

TEST_CASE("a sequence that gave up its pages tells each score once") {
  const Base base = base_of(DType::f32);
  for (const bool share : {false, true}) {
    EngineOptions options;
    options.pages = 8;
    options.step_ns = 1;  // the least chunks beside what decodes
    options.share_prefixes = share;
    Served served(base.model, std::move(options));
    // Both need a third page while the prompt is scored, which has three, and one is free.
    const int32_t one = served.engine->submit(request_of(119, 30, 1)),
                  two = served.engine->submit(request_of(119, 30, 3));
    while (served.answer(one).ids.size() < 4) served.turn();  // steps without prompts: their time is known
    EngineRequest request = request_of(190, 0, 2);
    request.prompt.resize(150);
    request.score_from = 5;
    request.top_log_probs = 4;
    const int32_t scored = served.engine->submit(request);
    while (served.engine->stats().put_out == 0 && served.engine->wants()) served.turn();
    CHECK(served.answer(scored).scores.size() > 64);
    CHECK(!served.answer(scored).ended);
    served.run();
    CHECK(served.engine->stats().found_tokens == (share ? 64 : 0));
    CHECK(served.answer(scored).text() == alone(base.model, request).text());
    CHECK(served.answer(one).ids == alone(base.model, request_of(119, 30, 1)).ids);
    CHECK(served.answer(two).ids == alone(base.model, request_of(119, 30, 3)).ids);
  }
}

TEST_CASE("beside streams a prompt that is scored has fewer rows in a step than one that is not") {
  const Base base = base_of(DType::f32);
  const double cost = score_cost(base.model->architecture());
  REQUIRE(cost > 1.1);
  // Rows of a prompt of 150 tokens in each step beside a stream. Each look at the clock takes longer than a step should, so that
  // chunks are as small as they can be.
  const auto chunks = [&](int32_t score_from) {
    int64_t now = 0;
    EngineOptions options;
    options.pages = 64;
    options.clock = [&now] { return now += 1'000'000'000; };
    Engine engine(base.model, present_device(), std::move(options), [] {});
    engine.submit(request_of(3, 100));
    while (engine.stats().generated_tokens < 2) engine.turn();
    EngineRequest request = request_of(150, 1, 2);
    request.score_from = score_from;
    engine.submit(std::move(request));
    std::vector<int64_t> rows;
    for (int64_t before = engine.stats().computed_tokens, left = 150; left > 0;) {
      engine.turn();
      const int64_t after = engine.stats().computed_tokens;
      rows.push_back(after - before - 1);  // one is the stream's
      left -= rows.back();
      before = after;
      REQUIRE(rows.back() > 0);
    }
    return rows;
  };
  CHECK(chunks(-1).front() == 16);
  CHECK(chunks(-1) == chunks(149));
  const std::vector<int64_t> scored = chunks(1);
  CHECK(scored.front() == static_cast<int64_t>(16.0 / cost));
  CHECK(scored[1] == scored.front());
  CHECK(chunks(40).front() == 16);
  CHECK(chunks(40)[4] == scored.front());
}
