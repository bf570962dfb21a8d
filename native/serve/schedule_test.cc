#include "serve/schedule.h"

#include "doctest/doctest.h"
#include "serve/fair_order.h"

using namespace rubricate;

TEST_CASE("a step has a row of each sequence that decodes, then chunks of prompts in order") {
  const std::vector<Runnable> all = {{100, 0}, {1, 0}, {50, 0}, {1, 0}, {1, 1}};
  CHECK(planned_rows(all, 0, 120, INT32_MAX) == std::vector<int64_t>{100, 1, 20, 1, 0});
  CHECK(planned_rows(all, 0, 16, INT32_MAX) == std::vector<int64_t>{16, 1, 0, 1, 0});
  CHECK(planned_rows(all, 1, 16, INT32_MAX) == std::vector<int64_t>{0, 0, 0, 0, 1});
  CHECK(planned_rows(all, 0, 120, 5) == std::vector<int64_t>{3, 1, 0, 1, 0});
  CHECK(planned_rows(all, 0, 120, 1) == std::vector<int64_t>{0, 1, 0, 0, 0});
}

TEST_CASE("groups take turns") {
  const std::vector<Runnable> all = {{1, 3}, {1, 0}, {1, 7}};
  CHECK(next_group(all, -1) == 0);
  CHECK(next_group(all, 0) == 3);
  CHECK(next_group(all, 3) == 7);
  CHECK(next_group(all, 7) == 0);
  CHECK(next_group({{1, 5}}, 5) == 5);
}

TEST_CASE("rows of prompts beside decoding aim at the length of a step, within bounds") {
  constexpr int64_t kMs = 1'000'000;
  StepTimes times;
  CHECK(times.chunk(0, 50 * kMs) == StepTimes::kMostChunk);
  CHECK(times.chunk(8, 50 * kMs) == StepTimes::kLeastChunk);  // nothing is known yet
  for (int i = 0; i < 50; ++i) times.add(8, 0, 10 * kMs);
  for (int i = 0; i < 50; ++i) times.add(8, 100, 60 * kMs);  // half a millisecond a row
  CHECK(times.chunk(8, 50 * kMs) == 80);
  CHECK(times.chunk(8, 12 * kMs) == StepTimes::kLeastChunk);
  CHECK(times.chunk(8, 10000 * kMs) == StepTimes::kMostChunk);
  CHECK(times.chunk(0, 12 * kMs) == StepTimes::kMostChunk);
}

TEST_CASE("rows that are scored take their cost of a chunk, and a chunk has a row at least") {
  const auto planned = [](const std::vector<Runnable>& all, int64_t chunk, double cost, int64_t most = INT32_MAX) {
    return planned_rows(all, 0, chunk, most, cost);
  };
  CHECK(planned({{100, 0, 0, 99}}, 16, 3.0) == std::vector<int64_t>{5});
  CHECK(planned({{100, 0, 10, 99}}, 16, 3.0) == std::vector<int64_t>{12});
  CHECK(planned({{100, 0, 40, 99}}, 16, 3.0) == std::vector<int64_t>{16});
  CHECK(planned({{100, 0, 2, 4}}, 16, 3.0) == std::vector<int64_t>{12});  // it was put out: the rest is no prompt
  CHECK(planned({{4, 0, 0, 3}, {1, 0}, {100, 0}}, 16, 3.0) == std::vector<int64_t>{4, 1, 6});
  CHECK(planned({{100, 0}, {100, 0, 0, 99}}, 16, 3.0) == std::vector<int64_t>{16, 0});
  CHECK(planned({{100, 0, 0, 99}, {100, 0}}, 16, 50.0) == std::vector<int64_t>{1, 0});
  CHECK(planned({{100, 0, 0, 99}, {1, 0}}, 16, 50.0, 1) == std::vector<int64_t>{0, 1});
  CHECK(planned({{100, 0, 0, 99}}, 16, 1.0) == std::vector<int64_t>{16});
  CHECK(planned({{100, 0, 0, 0}}, 16, 3.0) == std::vector<int64_t>{16});
}

TEST_CASE("a row that is scored costs the head's multiplications beside those of its blocks") {
  // [24, 24] of 4 heads and [12, 24] of 2, two of each; three of [40, 24]; the head: [97, 24]
  Architecture architecture;
  architecture.vocabulary = 97;
  architecture.hidden = 24;
  architecture.stack.layers = 3;
  architecture.stack.attention.heads = 4;
  architecture.stack.attention.kv_heads = 2;
  architecture.stack.attention.head_dim = 6;
  architecture.stack.feed_forward.size = 40;
  CHECK(score_cost(architecture) ==
        doctest::Approx(1.0 + 97.0 * 24 / (3.0 * (2 * 24 * 24 + 2 * 12 * 24 + 3 * 40 * 24))));
}

TEST_CASE("the order of tenants: a tenant's requests keep their order, and one that was put out goes first") {
  FairOrder order;
  order.wait(1, 7, 1.0f, false);
  order.wait(2, 7, 1.0f, false);
  order.wait(3, 8, 1.0f, false);
  CHECK(order.next() == 1);
  order.start(1, 100);
  CHECK(order.next() == 3);  // tenant 7 has had 100 tokens
  order.start(3, 10);
  CHECK(order.next() == 2);
  order.put_out(1);
  CHECK(order.next() == 1);
  order.start(1, 5);
  CHECK(order.ahead(1, 3));
  CHECK(!order.ahead(3, 1));
  order.remove(2);
  CHECK(order.next() == std::nullopt);
  order.generated(3, 500);
  CHECK(order.ahead(3, 1));
  order.remove(1);
  order.remove(3);
  order.remove(3);
  CHECK(order.next() == std::nullopt);
}
