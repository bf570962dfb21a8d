#include "adapter/adapter_version.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <string>
#include <utility>

#include "adapter/derived.h"
#include "base/error.h"
#include "device/slabs.h"

namespace rubricate {
namespace {

int64_t next_id() {
  static std::atomic<int64_t> id{0};
  return ++id;
}

// Index of the first number that is infinite or NaN; `count` if all are finite.
int64_t first_not_finite(const float* values, int64_t count) {
  constexpr int64_t kPart = 1024;  // a loop without an exit, which compilers vectorise
  for (int64_t start = 0; start < count; start += kPart) {
    const int64_t end = std::min(count, start + kPart);
    int32_t bad = 0;
    for (int64_t at = start; at < end; ++at) bad |= !std::isfinite(values[at]);
    if (bad != 0) return std::find_if(values + start, values + end, [](float v) { return !std::isfinite(v); }) - values;
  }
  return count;
}

// As JavaScript writes it.
const char* text_of_not_finite(float value) {
  if (std::isnan(value)) return "NaN";
  return value > 0.0f ? "Infinity" : "-Infinity";
}

}  // namespace

AdapterVersion::AdapterVersion(const Adapter& adapter, const WeightProducts& products)
    : id_(next_id()), plan_(adapter.plan()), has_norm_(plan_->has_norm()) {
  const Tensor& from = adapter.values();
  const Shape shape{plan_->total()};
  std::shared_ptr<void> memory = Slabs::process().allocate(element_count(shape) * dtype_size(from.dtype()));
  void* const address = memory.get();
  values_ = Tensor::borrow(std::move(memory), address, shape, from.dtype());
  copy_elements(values_.part(0, from.shape()), from);
  derive(*plan_, values(), values_.data<float>() + plan_->count, products);
}

void AdapterVersion::require_finite() const {
  const int64_t found = first_not_finite(values(), plan().total());
  if (found == plan().total()) return;
  // They lie in order: the last that begins at the number or before it.
  auto index = static_cast<int32_t>(plan().parameters.size() + plan().derived.size()) - 1;
  while (plan().offset(index) > found) --index;
  throw Error("ERR_NOT_FINITE",
              concat("Expected a finite number for ", plan().name(index), "[", found - plan().offset(index),
                     "] but received ", text_of_not_finite(values()[found])));
}

std::shared_ptr<const AdapterVersion> AdapterVersion::of(const Adapter& adapter, const WeightProducts& products) {
  return std::shared_ptr<const AdapterVersion>(new AdapterVersion(adapter, products));
}

}  // namespace rubricate
