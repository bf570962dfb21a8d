#include "serve/order.h"

namespace rubricate {

void ArrivalOrder::wait(int32_t request, uint32_t, float, bool front) {
  places_[request] = waiting_.insert(front ? waiting_.begin() : waiting_.end(), request);
}

std::optional<int32_t> ArrivalOrder::next() {
  if (waiting_.empty()) return std::nullopt;
  return waiting_.front();
}

void ArrivalOrder::start(int32_t request, int64_t) { remove(request); }

void ArrivalOrder::put_out(int32_t request) { wait(request, 0, 1.0f, true); }

void ArrivalOrder::remove(int32_t request) {
  const auto place = places_.find(request);
  if (place == places_.end()) return;
  waiting_.erase(place->second);
  places_.erase(place);
}

}  // namespace rubricate
