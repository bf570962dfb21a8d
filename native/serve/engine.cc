#include "serve/engine.h"

#include <algorithm>
#include <chrono>
#include <mutex>

#include "serve/fair_order.h"

namespace rubricate {
namespace {

int64_t monotonic_ns() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
}

EngineOptions checked(EngineOptions options) {
  require(options.max_sequences >= 1, "ERR_ARGUMENT", "Expected 1 or more for maxSequences but received ",
          options.max_sequences);
  require(options.max_queue >= 0, "ERR_ARGUMENT", "Expected 0 or more for maxQueue but received ", options.max_queue);
  require(options.pages >= 1 && options.pages <= INT32_MAX, "ERR_ARGUMENT", "Expected from 1 to ", INT32_MAX,
          " pages but received ", options.pages);
  require(options.ahead >= 1, "ERR_ARGUMENT", "Expected 1 or more for ahead but received ", options.ahead);
  if (!options.clock) options.clock = monotonic_ns;
  if (!options.order) options.order = std::make_unique<FairOrder>();
  return options;
}

}  // namespace

Engine::Engine(std::shared_ptr<const Model> model, std::shared_ptr<Stream> stream, EngineOptions options,
               std::function<void()> told)
    : model_(std::move(model)),
      options_(checked(std::move(options))),
      arena_(std::make_shared<Arena>(stream)),
      mailbox_(int64_t{options_.max_sequences} + options_.max_queue, std::move(told)),
      stepper_(model_, arena_, options_.version_bytes, options_.check_weights),
      prefixes_(options_.share_prefixes ? std::make_unique<Prefixes>(options_.pages) : nullptr),
      pool_(model_->architecture(), model_->compute(), std::make_shared<Arena>(std::move(stream)), options_.pages,
            prefixes_.get()),
      score_cost_(score_cost(model_->architecture())) {
  counts_.page_bytes = KvPool::page_bytes(model_->architecture(), model_->compute());
  report();
}

int32_t Engine::submit(EngineRequest request) {
  const Architecture& architecture = model_->architecture();
  const auto prompt = static_cast<int64_t>(request.prompt.size());
  require(prompt >= 1, "ERR_ARGUMENT", "Expected at least one token for tokenIds but received none");
  require(prompt <= architecture.context, "ERR_CONTEXT_LENGTH", "Expected at most ", architecture.context,
          " tokens (the model's context) but received ", prompt);
  const bool scores = request.score_from != -1;
  require(request.max_new >= (scores ? 0 : 1), "ERR_ARGUMENT", "Expected ", scores ? 0 : 1,
          " or more for maxNewTokens but received ", request.max_new);
  require(!scores || (request.score_from >= 1 && request.score_from < prompt), "ERR_ARGUMENT", "Expected from 1 to ",
          prompt - 1, " for scoreFrom (nothing predicts the first token) but received ", request.score_from);
  require(!scores || request.max_new == 0 || prompt < architecture.context, "ERR_CONTEXT_LENGTH",
          "Expected fewer than ", architecture.context, " tokens (the model's context) but received ", prompt);
  const auto weight = static_cast<double>(request.weight);
  require(weight >= Fairness::kLeastWeight && weight <= Fairness::kMostWeight, "ERR_ARGUMENT",
          "Expected a number from ", Fairness::kLeastWeight, " to ", Fairness::kMostWeight, " for weight but received ",
          weight);
  for (const int32_t token : request.prompt)
    require(token >= 0 && token < architecture.vocabulary, "ERR_ARGUMENT", "Expected token ids from 0 to ",
            architecture.vocabulary - 1, " but received ", token);
  check_sampling(architecture.vocabulary, request.sampling);
  require(request.top_log_probs >= -1 && request.top_log_probs <= kMostTopLogProbs, "ERR_ARGUMENT",
          "Expected from -1 to ", kMostTopLogProbs, " for topLogProbs but received ", request.top_log_probs);
  if (request.version) stepper_.check(*request.version);
  // The last token is never computed.
  const int64_t most = std::min(prompt + request.max_new, architecture.context) - 1;
  require(KvPool::pages_for(most) <= pool_.capacity(), "ERR_CACHE_FULL", "Expected a request of at most ",
          pool_.capacity() * kKeyBlock, " positions (the room for keys and values) but received one that may reach ",
          most);
  return mailbox_.submit(std::move(request));
}

EngineStats Engine::stats() const {
  const std::lock_guard lock(shared_);
  return stats_;
}

bool Engine::wants() const {
  if (mailbox_.has_mail()) return true;
  const std::lock_guard lock(shared_);
  return more_ || (next_deadline_ != 0 && options_.clock() >= next_deadline_);
}

int64_t Engine::due_in() const {
  const std::lock_guard lock(shared_);
  return next_deadline_ != 0 ? std::max<int64_t>(next_deadline_ - options_.clock(), 0) : -1;
}

void Engine::turn() {
  take_mail();
  end_overdue();
  admit();
  compute();
  report();
}

void Engine::take_mail() {
  Mailbox::Mail mail = mailbox_.take_mail();
  for (Mailbox::Submission& submission : mail.submissions) add(std::move(submission));
  for (const auto& [id, tokens] : mail.credits) {
    const auto found = sequences_.find(id);
    if (found == sequences_.end()) continue;
    Sequence& sequence = *found->second;
    sequence.taken += tokens;
    if (!sequence.parked || paused(sequence)) continue;
    sequence.parked = false;
    options_.order->wait(id, sequence.request.tenant, sequence.request.weight, true);
  }
  for (const int32_t id : mail.aborts)
    if (const auto found = sequences_.find(id); found != sequences_.end())
      fail(*found->second, "ERR_ABORTED", "The operation was aborted");
  if (mail.closed) fail_all(mail.closed->code, mail.closed->message);
}

void Engine::add(Mailbox::Submission submission) {
  auto sequence = std::make_unique<Sequence>();
  sequence->id = submission.id;
  sequence->request = std::move(submission.request);
  sequence->tokens = std::move(sequence->request.prompt);
  sequence->prompt = static_cast<int64_t>(sequence->tokens.size());
  sequence->to_score = sequence->request.score_from >= 0 ? sequence->request.score_from : sequence->prompt;
  sequence->arrival = ++arrivals_;
  if (sequence->request.sampling.counts())
    sequence->counts.add_prompt(sequence->tokens.data(), static_cast<int64_t>(sequence->tokens.size()));
  options_.order->wait(sequence->id, sequence->request.tenant, sequence->request.weight, false);
  sequences_.emplace(submission.id, std::move(sequence));
}

void Engine::end_overdue() {
  const int64_t now = options_.clock();
  std::vector<Sequence*> overdue;
  for (const auto& [id, sequence] : sequences_)
    if (sequence->request.deadline_ns != 0 && now >= sequence->request.deadline_ns) overdue.push_back(sequence.get());
  std::sort(overdue.begin(), overdue.end(), [](auto* a, auto* b) { return a->arrival < b->arrival; });
  for (Sequence* sequence : overdue)
    fail(*sequence, "ERR_DEADLINE", concat("The request's deadline passed after ", sequence->generated, " tokens"));
}

void Engine::end(Sequence& sequence, EngineOutputs::Kind kind, int32_t value) {
  const int32_t id = sequence.id;
  outputs_.add(id, kind, value, sequence.generated);
  pool_.release(sequence.keys);
  std::erase(running_, &sequence);
  options_.order->remove(id);
  ++ended_;
  sequences_.erase(id);
}

void Engine::fail(Sequence& sequence, const std::string& code, const std::string& message) {
  outputs_.errors.push_back({code, message});
  end(sequence, EngineOutputs::Kind::failed, static_cast<int32_t>(outputs_.errors.size()) - 1);
}

void Engine::fail_all(const std::string& code, const std::string& message) {
  std::vector<Sequence*> all;
  for (const auto& [id, sequence] : sequences_) all.push_back(sequence.get());
  std::sort(all.begin(), all.end(), [](auto* a, auto* b) { return a->arrival < b->arrival; });
  for (Sequence* sequence : all) fail(*sequence, code, message);
}

void Engine::report() {
  const auto active = [&](const Sequence* sequence) { return !paused(*sequence); };
  counts_.running = static_cast<int64_t>(running_.size());
  counts_.waiting = static_cast<int64_t>(sequences_.size()) - counts_.running;
  counts_.pages = pool_.capacity();
  counts_.free_pages = pool_.free();
  counts_.cached_pages = pool_.cached();
  counts_.pool_bytes = pool_.allocated_bytes();
  counts_.device_version_bytes = stepper_.version_bytes();
  int64_t deadline = 0;
  for (const auto& [id, sequence] : sequences_)
    if (const int64_t own = sequence->request.deadline_ns; own != 0 && (deadline == 0 || own < deadline))
      deadline = own;
  {
    const std::lock_guard lock(shared_);
    stats_ = counts_;
    more_ = options_.order->next().has_value() || std::any_of(running_.begin(), running_.end(), active);
    next_deadline_ = deadline;
  }
  mailbox_.send(std::exchange(outputs_, {}), std::exchange(ended_, 0));
}

void Engine::check() const {
  const auto expect = [](bool good, const char* what) { require(good, "ERR_INTERNAL", "Expected ", what); };
  std::vector<int32_t> users(static_cast<size_t>(pool_.capacity()), 0);
  for (const auto& [id, sequence] : sequences_) {
    expect(sequence->running == (std::count(running_.begin(), running_.end(), sequence.get()) == 1),
           "each sequence with pages once among the running ones");
    expect(sequence->running || sequence->keys.pages.empty(), "no pages of a sequence that waits");
    expect(sequence->pending() >= 1, "a token that is not computed for each sequence");
    for (const int32_t page : sequence->keys.pages) ++users[static_cast<size_t>(page)];
  }
  expect(std::is_sorted(running_.begin(), running_.end(), [](auto* a, auto* b) { return a->arrival < b->arrival; }),
         "the running sequences by arrival");
  int64_t used = 0;
  for (int64_t page = 0; page < pool_.capacity(); ++page) {
    used += pool_.users(static_cast<int32_t>(page)) > 0;
    expect(pool_.users(static_cast<int32_t>(page)) == users[static_cast<size_t>(page)],
           "as many users of each page as sequences have it");
  }
  expect(used == pool_.used(), "free, used and cached pages to be all pages");
  expect(pool_.cached() == (prefixes_ ? prefixes_->cached() : 0), "each cached page in the index");
}

}  // namespace rubricate
