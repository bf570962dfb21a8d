#include "model/kv_pool.h"

#include <algorithm>
#include <utility>

namespace rubricate {
namespace {

int64_t layer_bytes_of(const Architecture& architecture, DType dtype) {
  const auto& attention = architecture.stack.attention;
  return 2 * attention.kv_heads * kKeyBlock * attention.head_dim * dtype_size(dtype);
}

}  // namespace

int64_t KvPool::page_bytes(const Architecture& architecture, DType dtype) {
  return architecture.stack.layers * layer_bytes_of(architecture, dtype);
}

KvPool::KvPool(const Architecture& architecture, DType dtype, std::shared_ptr<Arena> arena, int64_t capacity,
               Memory* memory)
    : architecture_(architecture),
      dtype_(dtype),
      arena_(std::move(arena)),
      memory_(memory),
      layer_bytes_(layer_bytes_of(architecture, dtype)) {
  require(capacity >= 1 && capacity <= INT32_MAX, "ERR_ARGUMENT", "Expected from 1 to ", INT32_MAX,
          " pages for the capacity but received ", capacity);
  const auto count = static_cast<size_t>(capacity);
  pages_.resize(count);
  addresses_.resize(count, nullptr);
  users_.resize(count, 0);
  for (int64_t page = capacity; page-- > 0;) free_.push_back(static_cast<int32_t>(page));
}

int64_t KvPool::allocated_bytes() const { return allocated_ * page_bytes(architecture_, dtype_); }

int32_t KvPool::take() {
  if (free_.empty()) {
    const int32_t page = memory_ != nullptr ? memory_->evict() : -1;
    require(page >= 0 && users_[static_cast<size_t>(page)] == 0, "ERR_INTERNAL", "Expected a cached page");
    --cached_;
    free_.push_back(page);
  }
  const auto page = static_cast<size_t>(free_.back());
  if (addresses_[page] == nullptr) {
    pages_[page] = Tensor::empty(arena_, {architecture_.stack.layers * layer_bytes_ / 4}, DType::f32);
    addresses_[page] = pages_[page].raw();
    ++allocated_;
  }
  free_.pop_back();
  add_user(static_cast<int32_t>(page), false);
  return static_cast<int32_t>(page);
}

void KvPool::add_user(int32_t page, bool cached) {
  if (users_[static_cast<size_t>(page)]++ > 0) return;
  cached_ -= cached;
  if (memory_ != nullptr) memory_->used(page);
}

void KvPool::drop(int32_t page) {
  if (--users_[static_cast<size_t>(page)] > 0) return;
  if (memory_ != nullptr && memory_->keep(page))
    ++cached_;
  else
    free_.push_back(page);
}

bool KvPool::reserve(KvSequence& sequence, int64_t length) {
  const auto before = sequence.pages.size();
  const int64_t wanted = pages_for(length) - static_cast<int64_t>(before);
  if (wanted > free() + cached()) return false;
  try {
    for (int64_t i = 0; i < wanted; ++i) sequence.pages.push_back(take());
  } catch (...) {
    for (; sequence.pages.size() > before; sequence.pages.pop_back()) drop(sequence.pages.back());
    throw;
  }
  return true;
}

void KvPool::share(KvSequence& sequence, const std::vector<int32_t>& pages) {
  require(sequence.pages.empty() && sequence.length == 0, "ERR_INTERNAL", "Expected an empty sequence");
  for (const int32_t page : pages) add_user(page, true);
  sequence.pages = pages;
  sequence.length = static_cast<int32_t>(static_cast<int64_t>(pages.size()) * kKeyBlock);
}

void KvPool::replace(KvSequence& sequence, int64_t index, int32_t page) {
  int32_t& own = sequence.pages.at(static_cast<size_t>(index));
  add_user(page, true);
  drop(std::exchange(own, page));
}

void KvPool::release(KvSequence& sequence) {
  for (auto left = static_cast<int64_t>(sequence.pages.size()); left > 0; --left)
    drop(sequence.pages[static_cast<size_t>(left - 1)]);
  sequence = {};
}

PagedKeys KvPool::keys(const std::vector<KvSequence*>& sequences, const Batch& batch) {
  require(static_cast<int64_t>(sequences.size()) == batch.sequences(), "ERR_INTERNAL",
          "Expected pages for each sequence of the batch");
  PagedKeys keys;
  for (size_t s = 0; s < sequences.size(); ++s) {
    const KvSequence& sequence = *sequences[s];
    const int64_t length = sequence.length + batch.starts()[s + 1] - batch.starts()[s];
    const auto pages = static_cast<int64_t>(sequence.pages.size());
    require(batch.past()[s] == sequence.length && pages >= pages_for(length), "ERR_INTERNAL", "Expected pages for ",
            length, " positions but received ", pages);
    keys.pages_per_sequence = std::max(keys.pages_per_sequence, pages);
  }
  past_ = batch.past();
  table_.assign(sequences.size() * static_cast<size_t>(keys.pages_per_sequence), 0);
  for (size_t s = 0; s < sequences.size(); ++s)
    std::copy(sequences[s]->pages.begin(), sequences[s]->pages.end(),
              table_.begin() + static_cast<std::ptrdiff_t>(s) * keys.pages_per_sequence);
  keys.dtype = dtype_;
  keys.pages = addresses_.data();
  keys.page_count = capacity();
  keys.layers = architecture_.stack.layers;
  keys.layer_bytes = layer_bytes_;
  keys.page_table = table_.data();
  keys.past = past_.data();
  return keys;
}

}  // namespace rubricate
