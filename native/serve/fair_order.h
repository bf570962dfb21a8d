// The order of requests by the fairness of their tenants (fairness.h).
#pragma once

#include <cstdint>
#include <list>
#include <optional>
#include <unordered_map>

#include "serve/fairness.h"
#include "serve/order.h"

namespace rubricate {

class FairOrder : public Order {
 public:
  void wait(int32_t request, uint32_t tenant, float weight, bool front) override;
  std::optional<int32_t> next() override;
  void start(int32_t request, int64_t prompt) override;
  void put_out(int32_t request) override;
  void remove(int32_t request) override;
  void generated(int32_t request, int64_t tokens) override;
  bool ahead(int32_t a, int32_t b) const override;

 private:
  struct Known {
    uint32_t tenant = 0;
    bool waits = true;
    std::list<int32_t>::iterator place;  // while it waits
  };
  Known& known(int32_t request) { return requests_.at(request); }
  void enqueue(int32_t request, Known& known, bool front);
  void dequeue(const Known& known);

  Fairness fairness_;
  std::unordered_map<int32_t, Known> requests_;
  std::unordered_map<uint32_t, std::list<int32_t>> waiting_;  // of each tenant that waits
};

}  // namespace rubricate
