// Which entries of a matrix [outputs, inputs] a sparse update has: fixed, and shared by all adapters of a plan.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "tensor/tensor.h"

namespace rubricate {

// The entries are numbered by rows. Two orders are kept, of 12 bytes for an entry in all, since a sum over the entries of a
// row (the forward) and one over those of a column (dx) both have to be one chain.
class SparseIndex {
 public:
  SparseIndex() = default;  // undefined
  // indices: n * inputs + k for an entry at row n and column k; ascending, each once. name: for messages.
  // Errors: ERR_ARGUMENT naming the index and its place; ERR_SHAPE for a matrix of 2^31 elements or more.
  SparseIndex(int64_t outputs, int64_t inputs, const int32_t* indices, int64_t count, const char* name);

  bool defined() const { return tables_.defined(); }
  int64_t outputs() const { return outputs_; }
  int64_t inputs() const { return inputs_; }
  int64_t count() const { return count_; }
  // The indices again, by rows. In host memory.
  std::vector<int32_t> indices() const;

  // Entries starts[n] to starts[n + 1] - 1 are those of row n; entry i is at column columns[i].
  const int32_t* starts() const { return table(0); }
  const int32_t* columns() const { return table(outputs_ + 1); }
  // By columns: places column_starts[k] to column_starts[k + 1] - 1 are those of column k, rows ascending; place j is at row
  // rows[j] and is entry order[j].
  const int32_t* column_starts() const { return table(outputs_ + 1 + count_); }
  const int32_t* rows() const { return table(outputs_ + inputs_ + 2 + count_); }
  const int32_t* order() const { return table(outputs_ + inputs_ + 2 + 2 * count_); }

  // All tables, i32, and the same index with tables of another memory.
  const Tensor& tables() const { return tables_; }
  SparseIndex with(Tensor tables) const;
  bool operator==(const SparseIndex& other) const;

 private:
  const int32_t* table(int64_t begin) const { return static_cast<const int32_t*>(tables_.raw()) + begin; }

  int64_t outputs_ = 0, inputs_ = 0, count_ = 0;
  Tensor tables_;
};

}  // namespace rubricate
