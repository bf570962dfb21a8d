#include "adapter/adapter_version.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <mutex>
#include <string>
#include <utility>

#include "base/mutex.h"
#include "device/slabs.h"

namespace rubricate {
namespace {

int64_t next_id() {
  static std::atomic<int64_t> id{0};
  return ++id;
}

// The layout that all versions share which have an equal one. Programs have few layouts, and often thousands of versions.
std::shared_ptr<const RedLayout> shared(RedLayout layout) {
  static Mutex mutex;
  static std::vector<std::weak_ptr<const RedLayout>>& known = *new std::vector<std::weak_ptr<const RedLayout>>;
  const std::lock_guard lock(mutex);
  std::erase_if(known, [](const auto& one) { return one.expired(); });
  for (const auto& one : known)
    if (auto found = one.lock(); found && *found == layout) return found;
  auto made = std::make_shared<const RedLayout>(std::move(layout));
  known.push_back(made);
  return made;
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

RedLayout RedLayout::of(const RedAdapter& adapter) {
  RedLayout layout;
  layout.count = adapter.values().count();
  const float* const first = adapter.values().data<float>();
  const auto place = [first](const Var& vector) {
    return vector.defined() ? vector.value().data<float>() - first : int64_t{-1};
  };
  for (const RedAdapter::SiteVectors& own : adapter.sites()) {
    const Var& any = own.edit.scale.defined() ? own.edit.scale : own.edit.bias;
    layout.sites.push_back({own.layer, own.site, any.value().count(), place(own.edit.scale), place(own.edit.bias),
                            place(own.norm.scale), place(own.norm.bias)});
  }
  return layout;
}

bool RedLayout::has_norm() const {
  return std::any_of(sites.begin(), sites.end(), [](const SiteVectors& site) { return site.norm_weight >= 0; });
}

AdapterVersion::AdapterVersion(const RedAdapter& adapter)
    : id_(next_id()), layout_(shared(RedLayout::of(adapter))), has_norm_(layout_->has_norm()) {
  const Tensor& from = adapter.values();
  std::shared_ptr<void> memory = Slabs::process().allocate(from.bytes());
  void* const address = memory.get();
  values_ = Tensor::borrow(std::move(memory), address, from.shape(), from.dtype());
  copy_elements(values_, from);
}

void AdapterVersion::require_finite() const {
  const int64_t found = first_not_finite(values(), layout().count);
  if (found == layout().count) return;
  for (const RedLayout::SiteVectors& own : layout().sites) {
    const auto check = [&](int64_t start, const char* part) {
      require(start < 0 || found < start || found >= start + own.width, "ERR_NOT_FINITE",
              "Expected a finite number for ", site_name(own.layer, own.site), part, "[", found - start,
              "] but received ", text_of_not_finite(values()[found]));
    };
    check(own.scale, ".scale");
    check(own.bias, ".bias");
    check(own.norm_weight, ".ln.weight");
    check(own.norm_bias, ".ln.bias");
  }
}

std::shared_ptr<const AdapterVersion> AdapterVersion::of(const RedAdapter& adapter) {
  return std::shared_ptr<const AdapterVersion>(new AdapterVersion(adapter));
}

}  // namespace rubricate
