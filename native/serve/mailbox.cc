#include "serve/mailbox.h"

#include <mutex>

#include "base/error.h"

namespace rubricate {
namespace {

// Codes of errors have static storage (base/error.h); these are the ones that close a mailbox.
const char* static_code(const std::string& code) {
  for (const char* known : {"ERR_DISPOSED", "ERR_ABORTED", "ERR_DEVICE_LOST", "ERR_FILE"})
    if (code == known) return known;
  return "ERR_STATE";
}

}  // namespace

int32_t Mailbox::submit(EngineRequest request) {
  const std::lock_guard lock(mutex_);
  if (closed_) throw Error(static_code(closed_->code), closed_->message);
  if (under_way_ >= limit_) return -1;
  const int32_t id = next_;
  next_ = next_ == INT32_MAX ? 0 : next_ + 1;
  ++under_way_;
  mail_.submissions.push_back({id, std::move(request)});
  return id;
}

void Mailbox::abort(int32_t request) {
  const std::lock_guard lock(mutex_);
  mail_.aborts.push_back(request);
}

void Mailbox::taken(int32_t request, int32_t tokens) {
  const std::lock_guard lock(mutex_);
  mail_.credits.emplace_back(request, tokens);
}

void Mailbox::close(EngineOutputs::Failure failure) {
  const std::lock_guard lock(mutex_);
  if (closed_) return;
  closed_ = failure;
  mail_.closed = std::move(failure);
}

int64_t Mailbox::under_way() const {
  const std::lock_guard lock(mutex_);
  return under_way_;
}

bool Mailbox::has_mail() const {
  const std::lock_guard lock(mutex_);
  return !mail_.submissions.empty() || !mail_.aborts.empty() || !mail_.credits.empty() || mail_.closed;
}

Mailbox::Mail Mailbox::take_mail() {
  const std::lock_guard lock(mutex_);
  return std::exchange(mail_, {});
}

void Mailbox::send(EngineOutputs outputs, int64_t ended) {
  {
    const std::lock_guard lock(mutex_);
    under_way_ -= ended;
    if (outputs.empty()) return;
    if (outputs_.empty()) {
      outputs_ = std::move(outputs);
    } else {
      outputs_.append(outputs);
    }
    if (std::exchange(waking_, true)) return;
  }
  told_();
}

void Mailbox::drain(EngineOutputs& outputs) {
  const std::lock_guard lock(mutex_);
  outputs = std::exchange(outputs_, {});
  waking_ = false;
}

}  // namespace rubricate
