// Whose request is admitted next, and whose running sequence gives up its pages. An engine's turns use it, on one thread.
#pragma once

#include <cstdint>
#include <list>
#include <optional>
#include <unordered_map>

namespace rubricate {

// A policy sees requests by number and tenant; the engine keeps everything else. Requests of one tenant keep their order.
// A request waits, runs, or is unknown.
class Order {
 public:
  virtual ~Order() = default;
  // An unknown request waits. front: it ran before, so it goes before its tenant's others.
  virtual void wait(int32_t request, uint32_t tenant, float weight, bool front) = 0;
  // The request to admit next; none if nobody waits.
  virtual std::optional<int32_t> next() = 0;
  // A waiting request runs now, and so many tokens of its prompt are to be computed.
  virtual void start(int32_t request, int64_t prompt) = 0;
  // A running request waits again, before its tenant's others.
  virtual void put_out(int32_t request) = 0;
  // A request that waits or runs becomes unknown.
  virtual void remove(int32_t request) = 0;
  // Tokens were generated for a running request.
  virtual void generated(int32_t request, int64_t tokens) = 0;
  // Of two running requests of which b came later: whether a is put out before b nevertheless.
  virtual bool ahead(int32_t a, int32_t b) const = 0;
};

// First come, first served.
class ArrivalOrder : public Order {
 public:
  void wait(int32_t request, uint32_t tenant, float weight, bool front) override;
  std::optional<int32_t> next() override;
  void start(int32_t request, int64_t prompt) override;
  void put_out(int32_t request) override;
  void remove(int32_t request) override;
  void generated(int32_t, int64_t) override {}
  bool ahead(int32_t, int32_t) const override { return false; }

 private:
  std::list<int32_t> waiting_;
  std::unordered_map<int32_t, std::list<int32_t>::iterator> places_;
};

}  // namespace rubricate
