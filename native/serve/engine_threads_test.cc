// An engine on a queue of its own thread: requests from several threads, beside jobs that yield. For ThreadSanitizer, and
// for what a driver on one thread cannot show.
#include <atomic>
#include <chrono>
#include <mutex>
#include <thread>

#include "doctest/doctest.h"
#include "runtime/job_queue.h"
#include "tests/serve_support.h"

using namespace rubricate;
using namespace rubricate::testing;
using Kind = EngineOutputs::Kind;

namespace {

EngineRequest request_of(int client, int round) {
  EngineRequest request;
  request.prompt = tiny_tokens(1 + (client * 37 + round * 11) % 90, static_cast<uint64_t>(round % 3));
  request.max_new = 1 + (client + round) % 7;
  request.tenant = static_cast<uint32_t>(client);
  return request;
}

// Reads outputs, on whichever thread asks; the answers are by request.
class Reader {
 public:
  Answer wait_for(Engine& engine, JobQueue& queue, int32_t id) {
    for (;;) {
      {
        const std::lock_guard lock(mutex_);
        EngineOutputs outputs;
        engine.drain(outputs);
        for (size_t row = 0; row < outputs.rows.size(); row += EngineOutputs::kColumns) {
          const int32_t* const cell = outputs.rows.data() + row;
          Answer& answer = answers_[cell[0]];
          const auto kind = static_cast<Kind>(cell[1]);
          if (kind == Kind::token) {
            answer.ids.push_back(cell[2]);
            engine.taken(cell[0], 1);
          } else if (kind >= Kind::stopped) {
            answer.ended = true;
            answer.end = kind;
            if (kind == Kind::failed) answer.code = outputs.errors[static_cast<size_t>(cell[2])].code;
          }
        }
        if (!outputs.empty()) queue.wake();
        if (answers_[id].ended) return answers_[id];
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

 private:
  Mutex mutex_;
  std::map<int32_t, Answer> answers_;
};

}  // namespace

TEST_CASE("requests from several threads, aborts, brief and extended jobs at once: each answer is its own") {
  const std::shared_ptr<const Model> model = tiny_model({});
  EngineOptions options;
  options.pages = 8;
  options.max_sequences = 3;
  options.ahead = 2;
  std::atomic<int> told{0};
  const auto engine = std::make_shared<Engine>(model, nullptr, std::move(options), [&] { ++told; });
  JobQueue queue;
  queue.attach(engine);
  std::atomic<bool> ends{false};
  std::atomic<int> brief{0};
  queue.enqueue({JobQueue::Length::extended, [&](const std::atomic<bool>&) {
                   while (!ends) {
                     std::this_thread::sleep_for(std::chrono::microseconds(200));
                     queue.yield();
                   }
                 }});
  Reader reader;
  std::atomic<int> wrong{0};
  std::vector<std::thread> clients;
  for (int client = 0; client < 3; ++client)
    clients.emplace_back([&, client] {
      for (int round = 0; round < 8; ++round) {
        const int32_t id = engine->submit(request_of(client, round));
        queue.wake();
        const bool aborts = round % 4 == 3;
        if (aborts) {
          engine->abort(id);
          queue.wake();
        }
        queue.enqueue({JobQueue::Length::brief, [&](const std::atomic<bool>&) { ++brief; }});
        engine->stats();
        const Answer got = reader.wait_for(*engine, queue, id);
        if (aborts ? got.code != "ERR_ABORTED" && got.end != Kind::length : got.end != Kind::length) ++wrong;
        if (!aborts) {
          Served own(model);
          const int32_t again = own.engine->submit(request_of(client, round));
          own.run();
          if (own.answer(again).ids != got.ids) ++wrong;
        }
      }
    });
  for (std::thread& client : clients) client.join();
  ends = true;
  CHECK(wrong == 0);
  CHECK(engine->under_way() == 0);
  queue.close();
  CHECK(brief == 24);
  CHECK(told > 0);
}
