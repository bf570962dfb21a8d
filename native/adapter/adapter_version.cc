#include "adapter/adapter_version.h"

#include <algorithm>
#include <atomic>

namespace rubricate {
namespace {

int64_t next_id() {
  static std::atomic<int64_t> id{0};
  return ++id;
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
    : id_(next_id()), layout_(RedLayout::of(adapter)), has_norm_(layout_.has_norm()) {
  values_ = adapter.values().copied_to(std::make_shared<Arena>());
}

std::shared_ptr<const AdapterVersion> AdapterVersion::of(const RedAdapter& adapter) {
  return std::shared_ptr<const AdapterVersion>(new AdapterVersion(adapter));
}

}  // namespace rubricate
