#include "serve/fairness.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace rubricate {
namespace {

// Counters are doubles. Below this number a token of the largest weight still changes them by more than a rounding.
constexpr double kRebaseAt = 0x1p40;

}  // namespace

Fairness::Tenant& Fairness::known(uint32_t tenant, int64_t Tenant::*requests) {
  const auto found = tenants_.find(tenant);
  require(found != tenants_.end() && found->second.*requests > 0, "ERR_INTERNAL",
          "Expected a tenant with such a request but received ", tenant);
  return found->second;
}

// What a tenant that begins to wait is lifted to.
double Fairness::least_counter() const {
  if (!waiting_.empty()) return std::max(floor_, waiting_.begin()->counter);
  const auto last = tenants_.find(last_waiting_);
  return last == tenants_.end() ? floor_ : std::max(floor_, last->second.counter);
}

void Fairness::place(uint32_t id, const Tenant& tenant, bool in) {
  const auto set = [&](Order& order, bool member) {
    const Place place{tenant.counter, tenant.since, id};
    if (!member) return;
    if (in)
      order.insert(place);
    else
      order.erase(place);
  };
  set(waiting_, tenant.waiting > 0);
  set(running_, tenant.running > 0);
  set(idle_, tenant.idle());
}

// Changes a tenant and its places in the orders.
template <typename Change>
void Fairness::update(uint32_t id, Tenant& tenant, Change&& change) {
  place(id, tenant, false);
  const bool waited = tenant.waiting > 0;
  change();
  place(id, tenant, true);
  if (waited && tenant.waiting == 0) last_waiting_ = id;
}

void Fairness::wait(uint32_t id, double weight) {
  require(weight >= kLeastWeight && weight <= kMostWeight, "ERR_ARGUMENT", "Expected a number from ", kLeastWeight,
          " to ", kMostWeight, " for weight but received ", weight);
  const double least = least_counter();
  const auto [at, is_new] = tenants_.try_emplace(id);
  Tenant& tenant = at->second;
  update(id, tenant, [&] {
    if (tenant.idle()) tenant.since = ++arrivals_;
    if (tenant.waiting == 0) tenant.counter = std::max(tenant.counter, least);
    tenant.weight = weight;
    ++tenant.waiting;
  });
  forget_idle();
  if (floor_ >= kRebaseAt) rebase();
}

void Fairness::leave(uint32_t id) {
  Tenant& tenant = known(id, &Tenant::waiting);
  update(id, tenant, [&] { --tenant.waiting; });
  forget_idle();
}

void Fairness::start(uint32_t id, int64_t prompt) {
  require(prompt >= 0, "ERR_INTERNAL", "Expected 0 or more tokens to compute but received ", prompt);
  Tenant& tenant = known(id, &Tenant::waiting);
  update(id, tenant, [&] {
    --tenant.waiting;
    ++tenant.running;
    tenant.counter += static_cast<double>(prompt) / tenant.weight;
  });
}

void Fairness::put_out(uint32_t id) {
  const double least = least_counter();
  Tenant& tenant = known(id, &Tenant::running);
  update(id, tenant, [&] {
    if (tenant.waiting == 0) tenant.counter = std::max(tenant.counter, least);
    --tenant.running;
    ++tenant.waiting;
  });
}

void Fairness::finish(uint32_t id) {
  Tenant& tenant = known(id, &Tenant::running);
  update(id, tenant, [&] { --tenant.running; });
  forget_idle();
}

void Fairness::generated(uint32_t id, int64_t tokens) {
  require(tokens >= 0, "ERR_INTERNAL", "Expected 0 or more generated tokens but received ", tokens);
  const auto found = tenants_.find(id);
  require(found != tenants_.end() && !found->second.idle(), "ERR_INTERNAL",
          "Expected a tenant with requests but received ", id);
  Tenant& tenant = found->second;
  update(id, tenant, [&] { tenant.counter += static_cast<double>(kPerGenerated * tokens) / tenant.weight; });
}

std::optional<uint32_t> Fairness::next() const {
  if (waiting_.empty()) return std::nullopt;
  return waiting_.begin()->tenant;
}

std::optional<uint32_t> Fairness::furthest_ahead() const {
  if (running_.empty()) return std::nullopt;
  return running_.rbegin()->tenant;
}

bool Fairness::before(uint32_t a, uint32_t b) const {
  const auto place = [&](uint32_t id) {
    const auto found = tenants_.find(id);
    return found == tenants_.end() ? Place{0.0, 0, id} : Place{found->second.counter, found->second.since, id};
  };
  return place(a) < place(b);
}

double Fairness::counter(uint32_t tenant) const {
  const auto found = tenants_.find(tenant);
  return found == tenants_.end() ? 0.0 : found->second.counter;
}

// Forgets idle tenants that any lift would bring level with new ones, and those beyond kMostIdle. If nobody waits or
// runs, everybody got what he wanted: then all are forgotten.
void Fairness::forget_idle() {
  if (waiting_.empty() && running_.empty()) {
    tenants_.clear();
    idle_.clear();
    floor_ = 0.0;
    return;
  }
  floor_ = least_counter();
  while (!idle_.empty() && (idle_.begin()->counter <= floor_ || idle_.size() > kMostIdle)) {
    tenants_.erase(idle_.begin()->tenant);
    idle_.erase(idle_.begin());
  }
}

// Takes the same number from all counters, so that they stay small enough to count single tokens. It is a whole number,
// so the differences are exact; counters below it, which a lift would raise anyway, become 0.
void Fairness::rebase() {
  const double base = std::floor(least_counter());
  floor_ = std::max(0.0, floor_ - base);
  waiting_.clear();
  running_.clear();
  idle_.clear();
  for (auto& [id, tenant] : tenants_) {
    tenant.counter = std::max(0.0, tenant.counter - base);
    place(id, tenant, true);
  }
}

}  // namespace rubricate
