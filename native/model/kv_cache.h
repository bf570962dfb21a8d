// Keys and values of the sequences that are being generated, in pages of kKeyBlock positions that all layers share.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "architecture/architecture.h"
#include "model/batch.h"
#include "ops/attention/attention.h"
#include "tensor/tensor.h"

namespace rubricate {

class KvCache {
 public:
  KvCache(const Architecture& architecture, DType dtype, std::shared_ptr<Arena> arena);

  // Adds an empty sequence; its id is reused after remove().
  int32_t add();
  void remove(int32_t sequence);
  int32_t length(int32_t sequence) const;
  // Drops positions from `length` on.
  void truncate(int32_t sequence, int32_t length);

  // Makes room for the batch's new tokens; batch.past must equal the lengths of `sequences`. Then run the forward with
  // keys(), and commit() when it is done; so a failed forward leaves the lengths unchanged.
  void prepare(const std::vector<int32_t>& sequences, const Batch& batch);
  // The pages of the prepared batch, valid until the next prepare().
  PagedKeys keys() const;
  void commit(const std::vector<int32_t>& sequences, const Batch& batch);

 private:
  struct Sequence {
    bool used = false;
    int32_t length = 0;
    std::vector<int32_t> pages;
  };
  int32_t take_page();
  Sequence& at(int32_t sequence);

  const Architecture& architecture_;
  DType dtype_;
  std::shared_ptr<Arena> arena_;
  int64_t layer_bytes_;  // of one page of one layer
  std::vector<Sequence> sequences_;
  std::vector<Tensor> pages_;  // each [layers, layer_bytes]
  std::vector<void*> addresses_;
  std::vector<int32_t> free_pages_;
  // The batch that was prepared.
  std::vector<int32_t> table_, past_;
  int64_t pages_per_sequence_ = 0;
};

}  // namespace rubricate
