#include "serve/prefixes.h"

namespace rubricate {
namespace {

int64_t version_of(const Sequence& sequence) { return sequence.request.version ? sequence.request.version->id() : 0; }

}  // namespace

void Prefixes::find(KvPool& pool, Sequence& sequence) {
  pool.share(sequence.keys, index_.lookup(sequence.request.domain, version_of(sequence), sequence.tokens.data(),
                                          sequence.shareable()));
}

void Prefixes::add(KvPool& pool, Sequence& sequence, int64_t before) {
  for (int64_t block = before / kKeyBlock; block < sequence.keys.length / kKeyBlock; ++block) {
    const std::vector<int32_t>& pages = sequence.keys.pages;
    const int32_t page = pages[static_cast<size_t>(block)];
    const int32_t previous = block > 0 ? pages[static_cast<size_t>(block - 1)] : PrefixIndex::kNone;
    if (block > 0 && !index_.holds(previous)) return;
    const int32_t known = index_.insert(sequence.request.domain, version_of(sequence), previous,
                                        sequence.tokens.data() + block * kKeyBlock, page);
    if (known == PrefixIndex::kNone) return;
    if (known != page) pool.replace(sequence.keys, block, known);  // another sequence computed the same meanwhile
  }
}

bool Prefixes::keep(int32_t page) {
  index_.set_used(page, false);
  return index_.holds(page);
}

}  // namespace rubricate
