// Continuous batching: the requests of one model, each with its own adapter version, share the steps of one engine. A
// turn is one step: a token for each sequence that decodes, and chunks of prompts beside them.
//
// What a request answers does not depend on its company: not on what shares its steps, how its prompt is cut, or whether
// it was put out and computed again. A request ends with an outcome of its own, which disturbs no other.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <unordered_map>
#include <vector>

#include "base/error.h"
#include "base/mutex.h"
#include "device/arena.h"
#include "model/kv_pool.h"
#include "model/model.h"
#include "runtime/resident.h"
#include "serve/mailbox.h"
#include "serve/order.h"
#include "serve/prefixes.h"
#include "serve/request.h"
#include "serve/schedule.h"
#include "serve/sequence.h"
#include "serve/stepper.h"

namespace rubricate {

struct EngineOptions {
  int64_t pages = 0;                         // of kKeyBlock positions; at least 1
  int32_t max_sequences = 256;               // that take part in steps
  int32_t max_queue = 1024;                  // requests under way beyond those
  int64_t step_ns = 50'000'000;              // how long a step with prompts should take
  int32_t ahead = 256;                       // tokens that a sequence may be ahead of its reader
  int64_t version_bytes = int64_t{1} << 30;  // of copies of versions on a device
  std::function<int64_t()> clock;            // nanoseconds, of deadlines; default: a monotonic clock
  // Called after each step; an error that it throws ends all requests. Throws ERR_FILE if the weights' files changed.
  std::function<void()> check_weights;
  bool share_prefixes = true;    // among sequences of one domain and version
  std::unique_ptr<Order> order;  // default: by the fairness of tenants
};

// Counts are of the last turn's end.
struct EngineStats {
  int64_t running = 0;  // sequences that have pages
  int64_t waiting = 0;  // requests without
  int64_t pages = 0, free_pages = 0, cached_pages = 0, page_bytes = 0;
  int64_t pool_bytes = 0;  // of pages that were allocated; they stay so
  int64_t steps = 0;
  int64_t computed_tokens = 0;  // rows of prompts, also of those that were computed again
  int64_t generated_tokens = 0;
  int64_t found_tokens = 0;  // of prompts, in the cache
  int64_t put_out = 0;       // sequences that gave up their pages
  int64_t step_ns = 0;       // of the last step
  int64_t versions = 0;      // in the last step
  int64_t device_version_bytes = 0;
};

class Engine : public Resident {
 public:
  // told: there are outputs. Called on the model's thread, at most once until drain(). stream: the model's; null on the
  // CPU. Errors: ERR_ARGUMENT.
  Engine(std::shared_ptr<const Model> model, std::shared_ptr<Stream> stream, EngineOptions options,
         std::function<void()> told);

  // From any thread; then wake the queue. A number for the request, or -1: too many are under way. Throws what is wrong
  // with the request: ERR_ARGUMENT, ERR_CONTEXT_LENGTH, ERR_CACHE_FULL (it could never fit), ERR_SHAPE (a version of
  // another model); and what closed the engine.
  int32_t submit(EngineRequest request);
  void abort(int32_t request) { mailbox_.abort(request); }
  // The reader has taken so many more tokens.
  void taken(int32_t request, int32_t tokens) { mailbox_.taken(request, tokens); }
  // All requests end with this error at the next turn, and later ones are refused with it.
  void close(EngineOutputs::Failure failure) { mailbox_.close(std::move(failure)); }
  int64_t under_way() const { return mailbox_.under_way(); }
  // What came since the last call. From one thread.
  void drain(EngineOutputs& outputs) { mailbox_.drain(outputs); }
  EngineStats stats() const;

  void turn() override;
  bool wants() const override;
  int64_t due_in() const override;

  // Whether pages, sequences and requests add up. For tests, between two turns on the turns' thread.
  void check() const;

 private:
  // The parts of a turn, in order.
  void take_mail();
  void end_overdue();
  void admit();
  void compute();
  void report();

  void add(Mailbox::Submission submission);
  bool admit(Sequence& sequence);
  void put_out(Sequence& sequence);
  // Pages for all tokens of a sequence, if need be those of others. false: it was put out itself, or ended.
  bool make_room(Sequence& sequence);
  // Of the running sequences the one to put out first, or null.
  Sequence* victim(const Sequence* needy, bool paused_only) const;
  std::vector<Sequence*> planned(std::vector<StepPart>& parts);
  void take_tokens(const std::vector<Sequence*>& sequences, std::vector<StepResult> results);
  void take_token(Sequence& sequence, const SampledToken& token);
  // false: they are not numbers, and the sequence has ended.
  bool take_scores(Sequence& sequence, const std::vector<LogProbs>& scores);
  void tell_tops(const std::vector<TokenLogProb>& top);
  void step_failed(const std::vector<Sequence*>& sequences, const Error& error);
  void end(Sequence& sequence, EngineOutputs::Kind kind, int32_t value);
  void fail(Sequence& sequence, const std::string& code, const std::string& message);
  void fail_all(const std::string& code, const std::string& message);
  bool paused(const Sequence& sequence) const { return sequence.paused(options_.ahead); }
  int32_t group_of(const AdapterVersion* version);

  const std::shared_ptr<const Model> model_;
  EngineOptions options_;
  const std::shared_ptr<Arena> arena_;  // of the model's device
  Mailbox mailbox_;
  Stepper stepper_;
  // Everything below is used by turns alone.
  const std::unique_ptr<Prefixes> prefixes_;  // null: sequences share no pages
  KvPool pool_;
  std::unordered_map<int32_t, std::unique_ptr<Sequence>> sequences_;  // all that did not end, by request
  std::vector<Sequence*> running_;                                    // by arrival
  StepTimes times_;
  const double score_cost_;
  uint64_t arrivals_ = 0;
  int32_t last_group_ = -1, groups_ = 0;
  int64_t most_rows_ = 0;  // of a step, after one that found too little memory; 0: no bound
  EngineOutputs outputs_;
  int64_t ended_ = 0;  // requests that ended in this turn
  EngineStats counts_;
  // For other threads.
  mutable Mutex shared_;
  EngineStats stats_;
  bool more_ = false;          // a turn would compute something
  int64_t next_deadline_ = 0;  // of any request; 0: none
};

}  // namespace rubricate
