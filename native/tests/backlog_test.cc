// How much of a training step a short job waits for on a device: counted in launches, on an emulated device that always
// lags behind the host (RUBRICATE_EMULATION_LAG). Only if RUBRICATE_CUDA_LIBRARY names that plug-in.
#include <atomic>
#include <cstdlib>
#include <thread>
#include <vector>

#include "device/cuda/loader.h"
#include "runtime/job_queue.h"
#include "runtime/short_work.h"
#include "tests/step_support.h"

using namespace rubricate;
using namespace rubricate::testing;

namespace {

constexpr int64_t kLayers = 8;

class Lag {
 public:
  Lag() {
    setenv("RUBRICATE_EMULATION_LAG", "1", 1);
    setenv("RUBRICATE_MATMUL", "own", 1);  // the fake cuBLASLt does not lag
  }
  ~Lag() {
    unsetenv("RUBRICATE_EMULATION_LAG");
    unsetenv("RUBRICATE_MATMUL");
  }
};

int64_t waiting_launches() {
  RubricateDeviceInfo info;
  REQUIRE(cuda_plugin().table->info(0, &info) == RUBRICATE_OK);
  return info.waiting_launches;
}

// A training step in a long job, and what it has enqueued.
struct Step {
  std::vector<int64_t> at_blocks;  // launches that wait at each block of the forward
  int64_t most = 0;                // at any yield
  int64_t yields = 0, first_backward = 0;
  int64_t behind = -1;  // launches before the short job

  // short_job_at: the yield at which a short job arrives; -1: none does.
  Step(Model& model, const std::shared_ptr<Adapter>& adapter, int64_t short_job_at) {
    JobQueue queue;
    std::atomic<bool> done{false};
    const auto arena = std::make_shared<Arena>(test_stream(), true);  // one that frees memory waits for the device
    queue.enqueue({JobQueue::Length::extended, [&](const auto&) {
                     ShortWork others(queue, arena->stream());
                     bool backward = false;
                     JobControl control{nullptr, {}, arena};
                     control.observer = [&](const char*, bool back) {
                       if (back && !backward) first_backward = yields;
                       backward = backward || back;
                     };
                     control.yield = [&] {
                       if (!backward) at_blocks.push_back(waiting_launches());
                       most = std::max(most, waiting_launches());
                       if (yields++ == short_job_at)
                         queue.enqueue({JobQueue::Length::brief, [&](const auto&) { behind = waiting_launches(); }});
                       others.yield();
                     };
                     train_step(model, {tenant_of(adapter)}, {tiny_batch({tiny_tokens(26, 1)}, {1})}, {}, control);
                     done = true;
                   }});
    while (!done) std::this_thread::yield();
  }
};

}  // namespace

TEST_CASE("a short job beside a training step begins behind at most two blocks of it, in forward and backward") {
  if (!test_stream() || !test_stream()->device().emulated()) {
    MESSAGE("not tested: RUBRICATE_CUDA_LIBRARY names no emulated device");
    return;
  }
  const Lag lag;
  present_device() = test_stream();
  auto model = tiny_model({.layers = kLayers, .bias = true});
  const auto adapter = random_adapter(*model, RedVariant::all, 5);
  const Step alone(*model, adapter, -1);
  REQUIRE(alone.at_blocks.size() >= static_cast<size_t>(kLayers));
  const int64_t two_blocks = alone.at_blocks[kLayers - 1] - alone.at_blocks[kLayers - 3];
  CHECK(two_blocks >= 20);
  CHECK(alone.most > 4 * two_blocks);  // without a bound it would wait for all of these
  for (int64_t at = 2; at < alone.yields - 1; at += 5) {
    CAPTURE(at);
    CAPTURE(alone.first_backward);
    const Step step(*model, adapter, at);
    CHECK(step.behind >= 0);
    CHECK(step.behind <= two_blocks);
  }
  present_device() = nullptr;
}
