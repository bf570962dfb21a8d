#include "model/kv_cache.h"

#include <algorithm>

namespace rubricate {

KvCache::KvCache(const Architecture& architecture, DType dtype, std::shared_ptr<Arena> arena)
    : architecture_(architecture), dtype_(dtype), arena_(std::move(arena)) {
  const auto& attention = architecture.stack.attention;
  layer_bytes_ = 2 * attention.kv_heads * kKeyBlock * attention.head_dim * dtype_size(dtype);
}

KvCache::Sequence& KvCache::at(int32_t sequence) {
  require(sequence >= 0 && sequence < static_cast<int32_t>(sequences_.size()) &&
              sequences_[static_cast<size_t>(sequence)].used,
          "ERR_INTERNAL", "No sequence ", sequence, " in the cache");
  return sequences_[static_cast<size_t>(sequence)];
}

int32_t KvCache::add() {
  for (size_t i = 0; i < sequences_.size(); ++i)
    if (!sequences_[i].used) {
      sequences_[i].used = true;
      return static_cast<int32_t>(i);
    }
  sequences_.push_back({true, 0, {}});
  return static_cast<int32_t>(sequences_.size()) - 1;
}

void KvCache::remove(int32_t sequence) {
  Sequence& s = at(sequence);
  free_pages_.insert(free_pages_.end(), s.pages.begin(), s.pages.end());
  s = {};
}

int32_t KvCache::length(int32_t sequence) const { return const_cast<KvCache*>(this)->at(sequence).length; }

void KvCache::truncate(int32_t sequence, int32_t length) {
  Sequence& s = at(sequence);
  require(length >= 0 && length <= s.length, "ERR_INTERNAL", "Expected a length up to ", s.length, " but received ",
          length);
  const size_t keep = static_cast<size_t>((length + kKeyBlock - 1) / kKeyBlock);
  free_pages_.insert(free_pages_.end(), s.pages.begin() + static_cast<std::ptrdiff_t>(keep), s.pages.end());
  s.pages.resize(keep);
  s.length = length;
}

int32_t KvCache::take_page() {
  if (free_pages_.empty()) {
    pages_.push_back(Tensor::empty(arena_, {architecture_.stack.layers * layer_bytes_ / 4}, DType::f32));
    addresses_.push_back(pages_.back().raw());
    return static_cast<int32_t>(pages_.size()) - 1;
  }
  const int32_t page = free_pages_.back();
  free_pages_.pop_back();
  return page;
}

void KvCache::prepare(const std::vector<int32_t>& sequences, const Batch& batch) {
  require(static_cast<int64_t>(sequences.size()) == batch.sequences(), "ERR_INTERNAL",
          "Expected one cache sequence for each of the batch");
  pages_per_sequence_ = 0;
  for (size_t i = 0; i < sequences.size(); ++i) {
    Sequence& s = at(sequences[i]);
    require(batch.past()[i] == s.length, "ERR_INTERNAL", "Expected a past length of ", s.length, " but received ",
            batch.past()[i]);
    const int64_t length = s.length + batch.starts()[i + 1] - batch.starts()[i];
    while (static_cast<int64_t>(s.pages.size()) * kKeyBlock < length) s.pages.push_back(take_page());
    pages_per_sequence_ = std::max(pages_per_sequence_, static_cast<int64_t>(s.pages.size()));
  }
  past_ = batch.past();
  table_.assign(sequences.size() * static_cast<size_t>(pages_per_sequence_), 0);
  for (size_t i = 0; i < sequences.size(); ++i)
    std::copy(at(sequences[i]).pages.begin(), at(sequences[i]).pages.end(),
              table_.begin() + static_cast<std::ptrdiff_t>(i) * pages_per_sequence_);
}

PagedKeys KvCache::keys() const {
  PagedKeys keys;
  keys.dtype = dtype_;
  keys.pages = addresses_.data();
  keys.page_count = static_cast<int64_t>(addresses_.size());
  keys.layers = architecture_.stack.layers;
  keys.layer_bytes = layer_bytes_;
  keys.page_table = table_.data();
  keys.pages_per_sequence = pages_per_sequence_;
  keys.past = past_.data();
  return keys;
}

void KvCache::commit(const std::vector<int32_t>& sequences, const Batch& batch) {
  for (size_t i = 0; i < sequences.size(); ++i) at(sequences[i]).length += batch.starts()[i + 1] - batch.starts()[i];
}

}  // namespace rubricate
