// Whose request is next: the virtual token counter of Sheng et al., "Fairness in Serving Large Language Models" (OSDI
// 2024, arXiv 2401.00588). Each tenant has a counter that grows by
//
//   (computed prompt tokens + 2 generated tokens) / weight
//
// and the waiting tenant with the least counter is next; of equal counters, the one that came first. A tenant that begins
// to wait is lifted to the least counter of those that wait already, or if none waits, to the counter of the tenant that
// waited last: being idle saves up nothing. So while tenants all wait, their service per weight differs by a bound that
// does not grow with time: about what one tenant can have running at once.
//
// Costs: O(log n) for each call, n being the tenants that wait or run. An idle tenant is forgotten as soon as its
// counter could no longer change its place, so the number of tenant ids does not matter. Everything is decided by the
// calls and their order, nothing by time or addresses. Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <tuple>
#include <unordered_map>

namespace rubricate {

class Fairness {
 public:
  static constexpr int64_t kPerGenerated = 2;  // cost of a generated token; a computed prompt token costs 1
  static constexpr double kLeastWeight = 1e-3, kMostWeight = 1e3;
  // Idle tenants that are ahead of the others are remembered, up to this number. Beyond it the one that is least ahead
  // is forgotten: it returns as a new tenant would, level with the others.
  static constexpr size_t kMostIdle = 65536;

  // A request of the tenant begins to wait. The weight holds for what is charged from now on; ERR_ARGUMENT unless it is
  // from kLeastWeight to kMostWeight.
  void wait(uint32_t tenant, double weight);
  // A waiting request leaves the queue without service: it was aborted or is past its deadline.
  void leave(uint32_t tenant);
  // A waiting request is admitted, and `prompt` tokens of it are to be computed. They are charged now: else the tenant
  // would stay next, and one step would admit all that it has.
  void start(uint32_t tenant, int64_t prompt);
  // A running request returns to the queue, for its pages were needed.
  void put_out(uint32_t tenant);
  // A running request has ended.
  void finish(uint32_t tenant);
  // Tokens were generated for a tenant that waits or runs.
  void generated(uint32_t tenant, int64_t tokens);

  // The tenant whose request is to be admitted next; none if nobody waits.
  std::optional<uint32_t> next() const;
  // The running tenant with the largest counter: the one to put out; of equal counters, the one that came last.
  std::optional<uint32_t> furthest_ahead() const;
  // Orders running tenants, for example for chunks of their prompts: whether a is served before b.
  bool before(uint32_t a, uint32_t b) const;

  // Of a tenant that is remembered, else 0: tokens per weight, comparable only with other tenants' at the same time.
  double counter(uint32_t tenant) const;
  size_t remembered() const { return tenants_.size(); }

 private:
  struct Tenant {
    double counter = 0.0, weight = 1.0;
    uint64_t since = 0;  // rises with every wait() that finds the tenant neither waiting nor running
    int64_t waiting = 0, running = 0;
    bool idle() const { return waiting == 0 && running == 0; }
  };
  using Tenants = std::unordered_map<uint32_t, Tenant>;
  struct Place {
    double counter;
    uint64_t since;
    uint32_t tenant;
    auto key() const { return std::tuple(counter, since, tenant); }
    bool operator<(const Place& other) const { return key() < other.key(); }
  };
  using Order = std::set<Place>;

  Tenant& known(uint32_t tenant, int64_t Tenant::*requests);
  double least_counter() const;
  template <typename Change>
  void update(uint32_t id, Tenant& tenant, Change&& change);
  void place(uint32_t id, const Tenant& tenant, bool in);
  void forget_idle();
  void rebase();

  Tenants tenants_;
  Order waiting_, running_, idle_;
  double floor_ = 0.0;         // no later lift is to less
  uint32_t last_waiting_ = 0;  // the tenant that left the queue last; its counter counts while it is remembered
  uint64_t arrivals_ = 0;
};

}  // namespace rubricate
