#include "serve/fair_order.h"

namespace rubricate {

void FairOrder::enqueue(int32_t request, Known& known, bool front) {
  std::list<int32_t>& own = waiting_[known.tenant];
  known.place = own.insert(front ? own.begin() : own.end(), request);
  known.waits = true;
}

void FairOrder::dequeue(const Known& known) {
  const auto own = waiting_.find(known.tenant);
  own->second.erase(known.place);
  if (own->second.empty()) waiting_.erase(own);
}

void FairOrder::wait(int32_t request, uint32_t tenant, float weight, bool front) {
  fairness_.wait(tenant, static_cast<double>(weight));
  enqueue(request, requests_[request] = {tenant, true, {}}, front);
}

std::optional<int32_t> FairOrder::next() {
  const auto tenant = fairness_.next();
  if (!tenant) return std::nullopt;
  return waiting_.at(*tenant).front();
}

void FairOrder::start(int32_t request, int64_t prompt) {
  Known& one = known(request);
  dequeue(one);
  one.waits = false;
  fairness_.start(one.tenant, prompt);
}

void FairOrder::put_out(int32_t request) {
  Known& one = known(request);
  fairness_.put_out(one.tenant);
  enqueue(request, one, true);
}

void FairOrder::remove(int32_t request) {
  const auto found = requests_.find(request);
  if (found == requests_.end()) return;
  const Known& one = found->second;
  if (one.waits) {
    dequeue(one);
    fairness_.leave(one.tenant);
  } else {
    fairness_.finish(one.tenant);
  }
  requests_.erase(found);
}

void FairOrder::generated(int32_t request, int64_t tokens) { fairness_.generated(known(request).tenant, tokens); }

bool FairOrder::ahead(int32_t a, int32_t b) const {
  const uint32_t tenant_a = requests_.at(a).tenant, tenant_b = requests_.at(b).tenant;
  return tenant_a != tenant_b && fairness_.before(tenant_b, tenant_a);
}

}  // namespace rubricate
