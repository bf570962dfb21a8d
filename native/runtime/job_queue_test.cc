#include "runtime/job_queue.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "doctest/doctest.h"
#include "runtime/short_work.h"

using rubricate::JobQueue;
using rubricate::ShortWork;
using Length = JobQueue::Length;

namespace {

void wait_for(const std::atomic<bool>& flag) {
  while (!flag.load()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

}  // namespace

TEST_CASE("jobs run in order of arrival") {
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

TEST_CASE("a brief job is wanted while it waits, by an extended job alone") {
  JobQueue queue;
  std::atomic<bool> started{false}, queued{false}, done{false};
  std::vector<bool> wanted;
  queue.enqueue({Length::extended, [&](const auto&) {
                   wanted.push_back(queue.wanted());
                   started = true;
                   wait_for(queued);
                   wanted.push_back(queue.wanted());
                   queue.yield();
                   wanted.push_back(queue.wanted());
                 }});
  wait_for(started);
  queue.enqueue({Length::extended, [&](const auto&) { done = true; }});
  for (int i = 0; i < 2; ++i) queue.enqueue({Length::brief, [&](const auto&) { wanted.push_back(queue.wanted()); }});
  queued = true;
  wait_for(done);
  CHECK(wanted == std::vector<bool>{false, true, false, false, false});
}

TEST_CASE("short work is under way while a job waits, and its yield lets that job run") {
  JobQueue queue;
  std::atomic<bool> started{false}, queued{false}, done{false};
  std::vector<bool> wanted;
  bool ran = false, ran_first = false;
  queue.enqueue({Length::extended, [&](const auto&) {
                   ShortWork others(queue, nullptr);
                   others.yield();
                   wanted.push_back(others.wanted());
                   started = true;
                   wait_for(queued);
                   wanted.push_back(others.wanted());
                   others.yield();  // for a second others.wanted() stays true: not tested, as it depends on the time
                   ran_first = ran;
                   done = true;
                 }});
  wait_for(started);
  queue.enqueue({Length::brief, [&](const auto&) { ran = true; }});
  queued = true;
  wait_for(done);
  CHECK(wanted == std::vector<bool>{false, true});
  CHECK(ran_first);
}

namespace {

// Clients that each enqueue the next brief job when theirs ends, as concurrent generations do. A job yields, as a model
// does between its blocks, and is counted when it ends.
class Clients {
 public:
  Clients(JobQueue& queue, int count, int rounds) : queue_(queue), rounds_(rounds), last_(count, 0), left_(count) {
    for (int client = 0; client < count; ++client) enqueue(client, 0);
  }
  // The most jobs of other clients between two of one client.
  int longest_wait() const { return longest_wait_; }
  int jobs() const { return jobs_; }
  void wait_for_end() const {
    while (left_ > 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }

 private:
  void enqueue(int client, int round) {
    queue_.enqueue({Length::brief, [this, client, round](const auto&) {
                      queue_.yield();
                      const int now = ++jobs_;
                      longest_wait_ = std::max(longest_wait_, now - last_[static_cast<size_t>(client)] - 1);
                      last_[static_cast<size_t>(client)] = now;
                      if (round + 1 < rounds_)
                        enqueue(client, round + 1);
                      else
                        --left_;
                    }});
  }

  JobQueue& queue_;
  const int rounds_;
  std::vector<int> last_;  // the number of each client's last job
  int jobs_ = 0, longest_wait_ = 0;
  std::atomic<int> left_;
};

}  // namespace

TEST_CASE("clients that enqueue again when their job ends take turns") {
  JobQueue queue;
  std::atomic<bool> ready{false};
  queue.enqueue({Length::extended, [&](const auto&) { wait_for(ready); }});
  const Clients clients(queue, 5, 40);
  ready = true;
  clients.wait_for_end();
  CHECK(clients.longest_wait() <= 4);
}

TEST_CASE("clients that enqueue again take turns at the yields of an extended job, which continues meanwhile") {
  JobQueue queue;
  std::atomic<const Clients*> ready{nullptr};
  std::atomic<int> most{0};  // jobs at one yield
  queue.enqueue({Length::extended, [&](const auto&) {
                   while (ready == nullptr) std::this_thread::yield();
                   for (int block = 0; block < 100; ++block) {
                     const int before = ready.load()->jobs();
                     queue.yield();
                     most = std::max(most.load(), ready.load()->jobs() - before);
                   }
                 }});
  const Clients clients(queue, 5, 40);
  std::atomic<bool> done{false};
  queue.enqueue({Length::extended, [&](const auto&) { done = true; }});
  ready = &clients;
  wait_for(done);
  CHECK(clients.longest_wait() <= 4);
  CHECK(most == 5);
}

TEST_CASE("close cancels running jobs, reports waiting ones, and later jobs are cancelled at once") {
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

TEST_CASE("retire does not wait for a thread whose jobs have reported") {
  std::atomic<bool> reported{false}, retired{false}, ended{false};
  {
    JobQueue queue;
    queue.enqueue({Length::brief, [&](const std::atomic<bool>&) {
                     reported = true;
                     wait_for(retired);  // work that remains after the report
                     ended = true;
                   }});
    wait_for(reported);
    queue.retire();
  }
  CHECK(!ended);
  retired = true;
  wait_for(ended);
}

TEST_CASE("when the process exits, every queue's jobs are cancelled and no thread continues") {
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
