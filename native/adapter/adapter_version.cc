#include "adapter/adapter_version.h"

#include <atomic>

namespace rubricate {
namespace {

int64_t next_id() {
  static std::atomic<int64_t> id{0};
  return ++id;
}

}  // namespace

AdapterVersion::AdapterVersion(const Adapter& adapter)
    : id_(next_id()), plan_(adapter.plan()), has_norm_(plan_->has_norm()) {
  values_ = adapter.values().copied_to(std::make_shared<Arena>());
}

std::shared_ptr<const AdapterVersion> AdapterVersion::of(const Adapter& adapter) {
  return std::shared_ptr<const AdapterVersion>(new AdapterVersion(adapter));
}

}  // namespace rubricate
