#include "serve/fairness.h"

#include <cmath>
#include <map>
#include <optional>
#include <vector>

#include "tests/test_support.h"

using namespace rubricate;
using namespace rubricate::testing;

namespace {

// Numbers by seed, the same on every machine.
class Draws {
 public:
  explicit Draws(uint64_t seed) : seed_(seed) {}
  int64_t upto(int64_t most) {  // 0..most
    return static_cast<int64_t>(philox_uniform(seed_, 0, ++at_) * static_cast<double>(most + 1));
  }

 private:
  uint64_t seed_, at_ = 0;
};

// A server of a few places that serves requests of random lengths, one token of each running request a step, and says
// what each tenant got.
class Server {
 public:
  Server(uint64_t seed, size_t places) : draws_(seed), places_(places) {}

  void ask(uint32_t tenant, double weight, int64_t requests = 1) {
    for (int64_t i = 0; i < requests; ++i) {
      fairness.wait(tenant, weight);
      ++waiting[tenant];
    }
  }
  void step() {
    while (running_.size() < places_) {
      const std::optional<uint32_t> tenant = fairness.next();
      if (!tenant) break;
      const int64_t prompt = 1 + draws_.upto(200);
      fairness.start(*tenant, prompt);
      served[*tenant] += prompt;
      --waiting[*tenant];
      running_.push_back({*tenant, 1 + draws_.upto(60)});
    }
    for (Running& request : running_) {
      fairness.generated(request.tenant, 1);
      served[request.tenant] += Fairness::kPerGenerated;
      --request.left;
    }
    for (const Running& request : running_)
      if (request.left == 0) fairness.finish(request.tenant);
    std::erase_if(running_, [](const Running& request) { return request.left == 0; });
  }

  Fairness fairness;
  std::map<uint32_t, int64_t> served, waiting;

 private:
  struct Running {
    uint32_t tenant;
    int64_t left;
  };
  Draws draws_;
  size_t places_;
  std::vector<Running> running_;
};

}  // namespace

TEST_CASE("fairness: tenants that all want some are served by their weights, within a tenth") {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    Server server(seed, 8);
    for (int step = 0; step < 20000; ++step) {
      for (const uint32_t tenant : {1u, 2u, 3u})
        if (server.waiting[tenant] < 20) server.ask(tenant, tenant == 3 ? 2.0 : 1.0, tenant == 1 ? 17 : 1);
      server.step();
    }
    const auto share = [&](uint32_t tenant) { return static_cast<double>(server.served[tenant]); };
    const double all = share(1) + share(2) + share(3);
    CHECK(share(1) / all == doctest::Approx(0.25).epsilon(0.1));
    CHECK(share(2) / all == doctest::Approx(0.25).epsilon(0.1));
    CHECK(share(3) / all == doctest::Approx(0.5).epsilon(0.1));
  }
}

TEST_CASE("fairness: a flood of one tenant starves nobody, whatever comes and goes") {
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    CAPTURE(seed);
    Server server(seed, 4);
    Draws draws(seed + 100);
    server.ask(0, 1.0, 5000);
    int64_t steps_waiting = 0;
    for (int step = 0; step < 5000; ++step) {
      if (draws.upto(9) == 0) server.ask(static_cast<uint32_t>(10 + draws.upto(5)), 1.0);
      if (server.waiting[1] == 0) server.ask(1, 1.0);
      const int64_t before = server.waiting[1];
      server.step();
      steps_waiting = server.waiting[1] < before ? 0 : steps_waiting + 1;
      REQUIRE(steps_waiting < 500);
    }
    CHECK(server.served[0] > 0);
  }
}

TEST_CASE("fairness: a tenant that was idle is served no more than those that were not") {
  Server server(3, 4);
  const auto run = [&](int steps, const std::vector<uint32_t>& tenants) {
    server.served.clear();
    for (int step = 0; step < steps; ++step) {
      for (const uint32_t tenant : tenants)
        if (server.waiting[tenant] < 4) server.ask(tenant, 1.0);
      server.step();
    }
  };
  run(200, {1, 2});
  run(20000, {1});  // 2 wants nothing
  run(3000, {1, 2});
  const double first = static_cast<double>(server.served[1]), second = static_cast<double>(server.served[2]);
  CHECK(second / (first + second) == doctest::Approx(0.5).epsilon(0.1));
}

TEST_CASE("fairness: lifts to the least counter of those that wait, or to that of the last to wait") {
  Fairness fairness;
  fairness.wait(1, 1.0);
  fairness.start(1, 1000);
  fairness.generated(1, 50);
  CHECK(fairness.counter(1) == 1100.0);
  fairness.wait(2, 1.0);  // nobody waits: 1 waited last
  CHECK(fairness.counter(2) == 1100.0);
  fairness.wait(1, 2.0);
  fairness.generated(1, 100);  // the new weight
  CHECK(fairness.counter(1) == 1200.0);
  fairness.wait(3, 1.0);  // 2 waits
  CHECK(fairness.counter(3) == 1100.0);
  CHECK(fairness.next() == 2u);
  fairness.start(2, 7);
  CHECK(fairness.next() == 3u);
  CHECK(fairness.before(3, 2));
  CHECK(!fairness.before(2, 3));
}

TEST_CASE("fairness: of equal counters the first to come is next, and the last to come is furthest ahead") {
  Fairness fairness;
  for (const uint32_t tenant : {9u, 4u, 7u}) fairness.wait(tenant, 1.0);
  for (const uint32_t tenant : {9u, 4u, 7u}) {
    CHECK(fairness.next() == tenant);
    fairness.start(tenant, 0);
  }
  CHECK(!fairness.next());
  CHECK(fairness.furthest_ahead() == 7u);
  fairness.generated(4, 1);
  CHECK(fairness.furthest_ahead() == 4u);
  fairness.put_out(4);
  CHECK(fairness.next() == 4u);
  CHECK(fairness.furthest_ahead() == 7u);
  fairness.leave(4);
  CHECK(!fairness.next());
}

TEST_CASE("fairness: idle tenants are forgotten, those far ahead within a bound, and what is kept is kept exactly") {
  Fairness fairness;
  fairness.wait(0, 1.0);
  fairness.start(0, 0);
  fairness.wait(1, 1.0);  // waits all the time, and is behind
  for (uint32_t tenant = 2; tenant < 300000; ++tenant) {
    fairness.wait(tenant, 1.0);
    fairness.start(tenant, tenant % 2 == 0 ? 0 : static_cast<int64_t>(tenant));
    fairness.finish(tenant);
  }
  CHECK(fairness.remembered() == Fairness::kMostIdle + 2);
  CHECK(fairness.counter(299999) == 299999.0);
  CHECK(fairness.counter(299998) == 0.0);
  CHECK(fairness.counter(3) == 0.0);  // least ahead, so forgotten first
  fairness.wait(299999, 1.0);
  CHECK(fairness.counter(299999) == 299999.0);  // ahead still: it gains nothing by leaving
  fairness.leave(299999);
  fairness.start(1, 300000);
  fairness.wait(1, 1.0);
  CHECK(fairness.remembered() == 2);
  fairness.leave(1);
  fairness.finish(1);
  fairness.finish(0);
  CHECK(fairness.remembered() == 0);  // nobody wants anything
  CHECK(fairness.counter(1) == 0.0);
}

TEST_CASE("fairness: a counter that has grown for years still counts single tokens, in the same order") {
  Fairness fairness;
  for (const uint32_t tenant : {1u, 2u}) fairness.wait(tenant, 1e3);
  for (const uint32_t tenant : {1u, 2u}) fairness.start(tenant, int64_t{1} << 60);
  for (const uint32_t tenant : {1u, 2u, 3u}) fairness.wait(tenant, 1e3);
  CHECK(fairness.next() == 1u);
  for (const uint32_t tenant : {1u, 2u, 3u}) fairness.generated(tenant, 1);
  fairness.generated(1, 1);
  fairness.generated(2, 1);
  CHECK(fairness.next() == 3u);
  fairness.generated(3, 2);
  CHECK(fairness.next() == 1u);
  CHECK(fairness.counter(1) < fairness.counter(3));
}

TEST_CASE("fairness: refuses weights out of range, and calls for requests that there are not") {
  Fairness fairness;
  for (const double weight : {0.0, -1.0, 1e-4, 1001.0, static_cast<double>(NAN)})
    CHECK(error_code([&] { fairness.wait(1, weight); }) == "ERR_ARGUMENT");
  CHECK(fairness.remembered() == 0);
  CHECK(error_code([&] { fairness.start(1, 1); }) == "ERR_INTERNAL");
  CHECK(error_code([&] { fairness.generated(1, 1); }) == "ERR_INTERNAL");
  fairness.wait(1, 1.0);
  CHECK(error_code([&] { fairness.finish(1); }) == "ERR_INTERNAL");
  CHECK(error_code([&] { fairness.put_out(1); }) == "ERR_INTERNAL");
  CHECK(error_code([&] { fairness.start(1, -1); }) == "ERR_INTERNAL");
  fairness.start(1, 1);
  CHECK(error_code([&] { fairness.leave(1); }) == "ERR_INTERNAL");
}
