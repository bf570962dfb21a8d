#include "runtime/share.h"

#include <cmath>
#include <limits>

#include "doctest/doctest.h"
#include "tests/test_support.h"

using rubricate::Share;
using rubricate::testing::error_code;

namespace {

constexpr int64_t kMs = 1'000'000;

// Training in slices and turns as the share allows, for so many slices; returns the share of the time that training got.
double trained_share(Share& share, int64_t slice_ms, int64_t turn_ms, int slices) {
  double trained = 0.0, served = 0.0;
  for (int i = 0; i < slices; ++i) {
    share.trained(slice_ms * kMs);
    trained += static_cast<double>(slice_ms);
    for (; share.owes(); share.served(turn_ms * kMs)) served += static_cast<double>(turn_ms);
  }
  return trained / (trained + served);
}

}  // namespace

TEST_CASE("while both sides want the model, training gets its share, whatever the lengths of slices and turns") {
  for (const double wanted : {0.05, 0.2, 0.5, 0.9})
    for (const auto& [slice, turn] : {std::pair{25, 50}, {25, 3}, {1, 50}, {40, 20}}) {
      CAPTURE(wanted);
      CAPTURE(slice);
      Share share(wanted);
      CHECK(std::abs(trained_share(share, slice, turn, 20000) - wanted) < 0.01);
    }
}

TEST_CASE("a first request does not wait, and neither side saves up more than a second") {
  Share share(0.2);
  CHECK(share.owes());
  share.served(Share::kCredit);
  CHECK(!share.owes());
  share.trained(kMs);  // owes four times as much
  share.served(4 * kMs - 1);
  CHECK(share.owes());
  share.served(1);
  CHECK(!share.owes());

  share.trained(3600'000 * kMs);
  int64_t turns = 0;
  for (; share.owes(); share.served(10 * kMs)) ++turns;
  CHECK(turns == 100);
  share.served(3600'000 * kMs);
  share.trained(250 * kMs);
  CHECK(!share.owes());
  share.trained(kMs);
  CHECK(share.owes());
  share.served(3600'000 * kMs);
  share.begin();
  CHECK(share.owes());
}

TEST_CASE("requests that pause get their credit back in the time in which training would earn it, and no more") {
  Share share(0.2);
  share.served(Share::kCredit);
  share.trained_alone(5 * kMs);  // owes four times as much
  share.served(20 * kMs - 1);
  CHECK(share.owes());
  share.served(1);
  CHECK(!share.owes());
  share.trained_alone(3600'000 * kMs);
  share.served(Share::kCredit - 1);
  CHECK(share.owes());
  share.served(1);
  CHECK(!share.owes());
  share.trained(100 * kMs);      // 400 ms are owed,
  share.trained_alone(1 * kMs);  // but the requests that wanted them ended
  share.served(Share::kCredit);
  CHECK(!share.owes());
}

TEST_CASE("turns while training has nothing to do pay what is owed to requests, and training saves up nothing") {
  Share share(0.5);
  share.trained(200 * kMs);
  share.served_alone(150 * kMs);
  share.served(100 * kMs - 1);
  CHECK(share.owes());
  share.served(1);
  CHECK(!share.owes());
  share.trained(20 * kMs);
  share.served_alone(3600'000 * kMs);  // less than the credit is owed: it stays
  share.served(20 * kMs - 1);
  CHECK(share.owes());
  share.served(1);
  share.served_alone(3600'000 * kMs);
  share.trained(1);
  CHECK(share.owes());
}

TEST_CASE("a share outside 0 to 1 is refused") {
  for (const double bad : {0.0, 1.0, -0.5, 2.0, std::numeric_limits<double>::quiet_NaN()})
    CHECK(error_code([&] { Share share(bad); }) == "ERR_ARGUMENT");
}
