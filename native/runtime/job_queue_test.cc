#include "runtime/job_queue.h"

#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "doctest/doctest.h"

using rubricate::JobQueue;
using Length = JobQueue::Length;

namespace {

void wait_for(const std::atomic<bool>& flag) {
  while (!flag.load()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

}  // namespace

TEST_CASE("jobs run in the order they came") {
  std::vector<int> order;
  {
    JobQueue queue;
    std::atomic<bool> done{false};
    for (int i = 0; i < 5; ++i) queue.enqueue({Length::extended, [&, i](const auto&) { order.push_back(i); }});
    queue.enqueue({Length::brief, [&](const auto&) { done = true; }});
    wait_for(done);
  }
  CHECK(order == std::vector<int>{0, 1, 2, 3, 4});
}

TEST_CASE("a brief job overtakes an extended one at its yield, an extended one does not") {
  JobQueue queue;
  std::vector<int> order;
  std::atomic<bool> started{false}, queued{false}, done{false};
  queue.enqueue({Length::extended, [&](const auto&) {
                   started = true;
                   wait_for(queued);
                   queue.yield();
                   order.push_back(1);
                 }});
  wait_for(started);
  queue.enqueue({Length::extended, [&](const auto&) { order.push_back(2); }});
  queue.enqueue({Length::brief, [&](const auto&) {
                   queue.yield();  // a brief job's own yield does nothing
                   order.push_back(3);
                 }});
  queue.enqueue({Length::extended, [&](const auto&) { done = true; }});
  queued = true;
  wait_for(done);
  CHECK(order == std::vector<int>{3, 1, 2});
}

TEST_CASE("close cancels what runs, reports what waits, and later jobs are cancelled at once") {
  auto queue = std::make_unique<JobQueue>();
  std::atomic<bool> started{false};
  std::atomic<int> cancelled{0};
  queue->enqueue({Length::extended, [&](const std::atomic<bool>& flag) {
                    started = true;
                    wait_for(flag);
                    ++cancelled;
                  }});
  for (int i = 0; i < 3; ++i)
    queue->enqueue({Length::brief, [&](const std::atomic<bool>& flag) { cancelled += flag.load(); }});
  wait_for(started);
  queue->close();
  CHECK(cancelled == 4);
  queue->enqueue({Length::brief, [&](const std::atomic<bool>& flag) { cancelled += flag.load(); }});
  CHECK(cancelled == 5);
  CHECK(queue->pending() == 0);
}

TEST_CASE("retire waits for no thread whose jobs have reported") {
  std::atomic<bool> reported{false}, retired{false}, ended{false};
  {
    JobQueue queue;
    queue.enqueue({Length::brief, [&](const std::atomic<bool>&) {
                     reported = true;
                     wait_for(retired);  // what is left to do after the report
                     ended = true;
                   }});
    wait_for(reported);
    queue.retire();
  }
  CHECK(!ended);
  retired = true;
  wait_for(ended);
}

TEST_CASE("when the process exits, every queue's jobs are cancelled and no thread goes on") {
  JobQueue one, other;
  std::atomic<int> started{0}, cancelled{0};
  for (JobQueue* queue : {&one, &other})
    queue->enqueue({Length::extended, [&](const std::atomic<bool>& flag) {
                      ++started;
                      wait_for(flag);
                      std::this_thread::sleep_for(std::chrono::milliseconds(20));
                      ++cancelled;
                    }});
  while (started < 2) std::this_thread::yield();
  JobQueue::end_all();
  CHECK(cancelled == 2);
  JobQueue::end_all();
}

TEST_CASE("retire before the first job, and a job after it") {
  JobQueue queue;
  queue.retire();
  bool cancelled = false;
  queue.enqueue({Length::brief, [&](const std::atomic<bool>& flag) { cancelled = flag; }});
  CHECK(cancelled);
}
