// A resident of a job queue: its turns between jobs, and within extended jobs by their share of the time.
#include "runtime/resident.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "doctest/doctest.h"
#include "runtime/job_queue.h"

using rubricate::JobQueue;
using rubricate::Resident;
using Length = JobQueue::Length;

namespace {

constexpr int64_t kMs = 1'000'000;

void wait_for(const std::atomic<bool>& flag) {
  while (!flag.load()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

// Wants a number of turns; each takes some time of a clock that the test advances.
class Turns : public Resident {
 public:
  Turns(std::atomic<int64_t>& clock, int64_t turn_ns) : clock_(clock), turn_ns_(turn_ns) {}
  void turn() override {
    clock_ += turn_ns_;
    ++taken;
    if (during) during();
    --left;
  }
  bool wants() const override { return left > 0; }
  int64_t due_in() const override { return due; }

  std::atomic<int> left{0}, taken{0};
  std::atomic<int64_t> due{-1};
  std::function<void()> during;

 private:
  std::atomic<int64_t>& clock_;
  const int64_t turn_ns_;
};

struct Fixture {
  std::atomic<int64_t> clock{1};
  JobQueue queue{[this] { return clock.load(); }};
  std::shared_ptr<Turns> turns = std::make_shared<Turns>(clock, 10 * kMs);

  void want(int count) {
    turns->left = count;
    queue.wake();
  }
  // Waits until nobody wants turns and every job has ended: only then may the test read what they wrote.
  void finish() {
    while (turns->left > 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    std::atomic<bool> ended{false};
    queue.enqueue({Length::extended, [&](const auto&) { ended = true; }});
    wait_for(ended);
  }
};

}  // namespace

TEST_CASE("a resident has turns without any job, when it is woken") {
  Fixture f;
  f.queue.attach(f.turns);
  CHECK(f.turns->taken == 0);
  f.want(3);
  f.finish();
  CHECK(f.turns->taken == 3);
}

TEST_CASE("turns and brief jobs alternate") {
  Fixture f;
  std::string order;
  std::atomic<bool> started{false}, ready{false}, done{false};
  f.queue.enqueue({Length::extended, [&](const auto&) {
                     started = true;
                     wait_for(ready);
                   }});
  wait_for(started);
  f.turns->during = [&] { order += 't'; };
  f.turns->left = 4;
  f.queue.attach(f.turns);
  for (int i = 0; i < 4; ++i)
    f.queue.enqueue({Length::brief, [&, i](const auto&) {
                       order += 'j';
                       done = i == 3;
                     }});
  ready = true;
  wait_for(done);
  f.finish();
  CHECK((order == "tjtjtjtj" || order == "jtjtjtjt"));
}

TEST_CASE("within an extended job turns get their share of the time, at its yields, and brief jobs go first") {
  Fixture f;
  f.queue.set_training_share(0.5);
  f.queue.attach(f.turns);
  std::vector<int> at_yield;
  std::atomic<bool> done{false};
  int brief_before = -1;
  f.queue.enqueue({Length::extended, [&](const auto&) {
                     f.queue.yield();  // nobody wants anything
                     at_yield.push_back(f.turns->taken);
                     f.turns->left = 1000;
                     f.queue.enqueue({Length::brief, [&](const auto&) { brief_before = f.turns->taken; }});
                     for (int i = 0; i < 4; ++i) {
                       f.queue.yield();
                       at_yield.push_back(f.turns->taken);
                       f.clock += 20 * kMs;  // training computes
                     }
                     f.turns->left = 0;
                     done = true;
                   }});
  wait_for(done);
  f.finish();
  CHECK(brief_before == 0);
  // The first are the credit of 50 ms; then 20 ms of training owe 20 ms of turns.
  CHECK(at_yield == std::vector<int>{0, 5, 7, 9, 11});
}

TEST_CASE("time that passes while the resident wants nothing is not owed to it") {
  Fixture f;
  f.queue.set_training_share(0.5);
  f.queue.attach(f.turns);
  std::atomic<bool> done{false};
  int first = 0, second = 0;
  f.queue.enqueue({Length::extended, [&](const auto&) {
                     f.turns->left = 2;
                     f.queue.yield();
                     first = f.turns->taken;
                     for (int i = 0; i < 10; ++i) {
                       f.clock += 500 * kMs;
                       f.queue.yield();
                     }
                     f.turns->left = 1000;
                     f.queue.yield();
                     second = f.turns->taken - first;
                     f.turns->left = 0;
                     done = true;
                   }});
  wait_for(done);
  f.finish();
  CHECK(first == 2);
  CHECK(second == 5);  // the credit
}

TEST_CASE("steps of any length get their share of the time, though a job ends with each and turns run between them") {
  struct Case {
    double share;
    int64_t slice_ms, turn_ms;
    int slices;      // of a step
    int64_t queued;  // how many thousandths of the turn that follows a step pass before the next step is queued
  };
  for (const Case& c : {Case{0.2, 10, 15, 2, 100}, {0.2, 2, 15, 1, 500}, {0.5, 40, 15, 1, 900}, {0.1, 20, 7, 50, 0}}) {
    CAPTURE(c.share);
    CAPTURE(c.slice_ms);
    constexpr int kSteps = 400;
    std::atomic<int64_t> clock{1};
    std::atomic<bool> done{false};
    JobQueue queue([&] { return clock.load(); });
    queue.set_training_share(c.share);
    int64_t trained = 0, waited = 0;  // waited: for turns, from when a step is queued to its end
    int steps = 0;
    bool in_step = false, had_turn = false;
    std::function<void()> queue_step;
    class Always : public Resident {
     public:
      explicit Always(std::function<void()> body) : body_(std::move(body)) {}
      void turn() override { body_(); }
      bool wants() const override { return true; }

     private:
      const std::function<void()> body_;
    };
    const auto resident = std::make_shared<Always>([&] {
      const int64_t turn = c.turn_ms * kMs, before = turn / 1000 * c.queued;
      if (in_step || done || had_turn) {
        clock += turn;
        waited += in_step ? turn : 0;
        return;
      }
      had_turn = true;
      clock += before;  // JavaScript prepares the next step
      queue_step();
      clock += turn - before;
      waited += turn - before;
    });
    queue_step = [&] {
      queue.enqueue({Length::extended, [&](const auto&) {
                       in_step = true;
                       for (int i = 0; i < c.slices; ++i) {
                         clock += c.slice_ms * kMs;
                         trained += c.slice_ms * kMs;
                         queue.yield();
                       }
                       in_step = had_turn = false;
                       done = ++steps == kSteps;
                     }});
    };
    queue.attach(resident);
    wait_for(done);
    queue.close();
    const auto both = static_cast<double>(trained + waited);
    CHECK(static_cast<double>(trained) / both == doctest::Approx(c.share).epsilon(0.02));
  }
}

TEST_CASE("requests that follow each other closely do not get the credit each") {
  Fixture f;
  f.queue.set_training_share(0.2);
  f.queue.attach(f.turns);
  std::atomic<bool> done{false};
  int64_t trained = 0;
  f.queue.enqueue({Length::extended, [&](const auto&) {
                     for (int i = 0; i < 2000; ++i) {
                       if (f.turns->left == 0) {  // a yield at which nobody waits, then the next request of five turns
                         f.queue.yield();
                         f.turns->left = 5;
                       }
                       f.clock += 2 * kMs;
                       trained += 2 * kMs;
                       f.queue.yield();
                     }
                     f.turns->left = 0;
                     done = true;
                   }});
  wait_for(done);
  f.finish();
  const auto served = static_cast<double>(f.turns->taken * 10 * kMs);
  CHECK(static_cast<double>(trained) / (static_cast<double>(trained) + served) == doctest::Approx(0.2).epsilon(0.02));
}

TEST_CASE("a turn's own yield does nothing, and brief jobs wait for its end") {
  Fixture f;
  std::atomic<bool> inside{false}, done{false};
  std::atomic<int> nested{0};
  f.turns->during = [&] {
    if (inside.exchange(true)) ++nested;
    f.queue.enqueue({Length::brief, [&](const auto&) { nested += inside; }});
    f.queue.yield();
    inside = false;
  };
  f.queue.attach(f.turns);
  f.queue.enqueue({Length::extended, [&](const auto&) {
                     f.turns->left = 3;
                     for (int i = 0; i < 5; ++i) f.queue.yield();
                     done = true;
                   }});
  wait_for(done);
  f.finish();
  CHECK(nested == 0);
  CHECK(f.turns->taken == 3);
}

TEST_CASE("whether shorter work waits is known within an extended job, and only there") {
  Fixture f;
  f.queue.attach(f.turns);
  std::atomic<bool> done{false};
  bool before = true, woken = false, after = true;
  f.queue.enqueue({Length::extended, [&](const auto&) {
                     f.queue.yield();
                     before = f.queue.wanted();
                     f.turns->left = 1;
                     f.queue.wake();
                     woken = f.queue.wanted();
                     f.queue.yield();
                     f.queue.yield();
                     after = f.queue.wanted();
                   }});
  bool in_brief = true;
  f.queue.enqueue({Length::brief, [&](const auto&) {
                     f.turns->left = 1;
                     f.queue.wake();
                     in_brief = f.queue.wanted();
                     done = true;
                   }});
  wait_for(done);
  f.finish();
  CHECK(!before);
  CHECK(woken);
  CHECK(!after);
  CHECK(!in_brief);
}

TEST_CASE("a resident that is due has its turn though nobody wakes the queue") {
  Fixture f;
  f.turns->due = 5 * kMs;
  std::atomic<int> asked{0};
  class Due : public Resident {
   public:
    explicit Due(std::atomic<int>& taken) : taken_(taken) {}
    void turn() override { ++taken_; }
    bool wants() const override { return asked_++ > 2 && taken_ == 0; }
    int64_t due_in() const override { return taken_ == 0 ? kMs : -1; }

   private:
    std::atomic<int>& taken_;
    mutable std::atomic<int> asked_{0};
  };
  f.queue.attach(std::make_shared<Due>(asked));
  while (asked == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  CHECK(asked == 1);
}

TEST_CASE("a queue has one resident; detached it has no further turn, and closing the queue lets go of it") {
  Fixture f;
  f.queue.attach(f.turns);
  CHECK_THROWS_AS(f.queue.attach(f.turns), rubricate::Error);
  f.queue.detach();
  f.want(5);
  std::atomic<bool> done{false};
  f.queue.enqueue({Length::brief, [&](const auto&) { done = true; }});
  wait_for(done);
  CHECK(f.turns->taken == 0);
  f.queue.attach(f.turns);
  f.finish();
  CHECK(f.turns->taken == 5);
  f.queue.close();
  CHECK(f.turns.use_count() == 1);
  CHECK_THROWS_AS(f.queue.attach(f.turns), rubricate::Error);
}
