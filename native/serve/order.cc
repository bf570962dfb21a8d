#include "serve/order.h"

namespace rubricate {

void ArrivalOrder::wait(int32_t request, uint32_t, float, bool front) {
  places_[request] = waiting_.insert(front ? waiting_.begin() : waiting_.end(), request);
}

std::optional<int32_t> ArrivalOrder::next() {
  if (waiting_.empty()) return std::nullopt;
  return waiting_.front();
}

void ArrivalOrder::remove(int32_t request) {
  const auto place = places_.find(request);
  if (place == places_.end()) return;
  waiting_.erase(place->second);
  places_.erase(place);
}

}  // namespace rubricate
