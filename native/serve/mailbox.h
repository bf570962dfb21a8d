// What goes between the threads of an engine: requests, aborts and credit to the model's thread, outputs back. Each side
// takes everything that came at once.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <unordered_set>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "serve/request.h"

namespace rubricate {

class Mailbox {
 public:
  struct Submission {
    int32_t id = 0;
    EngineRequest request;
  };
  struct Mail {
    std::vector<Submission> submissions;
    std::vector<int32_t> aborts;
    std::vector<std::pair<int32_t, int32_t>> credits;  // request, tokens
    std::optional<EngineOutputs::Failure> closed;      // all requests end with this
  };

  // told: called when there are outputs, at most once until they are taken; on the model's thread. limit: requests under
  // way.
  Mailbox(int64_t limit, std::function<void()> told) : limit_(limit), told_(std::move(told)) {}

  // From any thread. A number for the request, or -1 if too many are under way. Throws what closed the mailbox.
  int32_t submit(EngineRequest request);
  void abort(int32_t request);
  void taken(int32_t request, int32_t tokens);
  void close(EngineOutputs::Failure failure);
  int64_t under_way() const;
  bool has_mail() const;

  // From the model's thread.
  Mail take_mail();
  // ended: how many requests these outputs end.
  void send(EngineOutputs outputs, int64_t ended);

  // From the thread that reads.
  void drain(EngineOutputs& outputs);

 private:
  const int64_t limit_;
  const std::function<void()> told_;
  mutable Mutex mutex_;
  Mail mail_;
  std::optional<EngineOutputs::Failure> closed_;
  EngineOutputs outputs_;
  bool waking_ = false;  // told_ was called, and nothing was taken since
  int32_t next_ = 0;
  int64_t under_way_ = 0;
};

}  // namespace rubricate
