// Whose request is admitted next, and whose running sequence gives up its pages. An engine's turns use it, on one thread.
#pragma once

#include <cstdint>
#include <list>
#include <optional>
#include <unordered_map>

namespace rubricate {

// A policy sees requests by number and tenant; the engine keeps everything else. Requests of one tenant keep their order.
class Order {
 public:
  virtual ~Order() = default;
  // A request waits. front: it ran before and was put out, so it goes before its tenant's others.
  virtual void wait(int32_t request, uint32_t tenant, float weight, bool front) = 0;
  // The request to admit next, which stays until remove(); none waits: nothing.
  virtual std::optional<int32_t> next() = 0;
  // A request no longer waits: it was admitted, or it ended.
  virtual void remove(int32_t request) = 0;
  // A step computed so many tokens of prompts and generated so many for a tenant.
  virtual void served(uint32_t tenant, int64_t computed, int64_t generated) = 0;
  // Whether tenant a is further ahead of its share than b: then a's sequence is put out first.
  virtual bool ahead(uint32_t a, uint32_t b) const = 0;
};

// First come, first served; no tenant is ahead of another.
class ArrivalOrder : public Order {
 public:
  void wait(int32_t request, uint32_t tenant, float weight, bool front) override;
  std::optional<int32_t> next() override;
  void remove(int32_t request) override;
  void served(uint32_t, int64_t, int64_t) override {}
  bool ahead(uint32_t, uint32_t) const override { return false; }

 private:
  std::list<int32_t> waiting_;
  std::unordered_map<int32_t, std::list<int32_t>::iterator> places_;
};

}  // namespace rubricate
