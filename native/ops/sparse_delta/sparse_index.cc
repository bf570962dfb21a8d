#include "ops/sparse_delta/sparse_index.h"

#include <algorithm>
#include <limits>

#include "base/error.h"

namespace rubricate {
namespace {

void check(int64_t outputs, int64_t inputs, const int32_t* indices, int64_t count, const char* name) {
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  require(outputs > 0 && inputs > 0 && inputs <= kMost / outputs, "ERR_SHAPE", "Expected a matrix of at most ", kMost,
          " elements for ", name, " but received shape ", shape_text({outputs, inputs}));
  require(count > 0, "ERR_ARGUMENT", "Expected at least one entry for ", name, " but received none");
  for (int64_t i = 0; i < count; ++i) {
    require(indices[i] >= 0 && indices[i] < outputs * inputs, "ERR_ARGUMENT", "Expected numbers from 0 to ",
            outputs * inputs - 1, " for ", name, " but received ", indices[i], " at ", i);
    require(i == 0 || indices[i] > indices[i - 1], "ERR_ARGUMENT", "Expected ascending numbers, each once, for ", name,
            " but received ", indices[i], " after ", i > 0 ? indices[i - 1] : 0, " at ", i);
  }
}

}  // namespace

SparseIndex::SparseIndex(int64_t outputs, int64_t inputs, const int32_t* indices, int64_t count, const char* name)
    : outputs_(outputs), inputs_(inputs), count_(count) {
  check(outputs, inputs, indices, count, name);
  const auto size = static_cast<size_t>(outputs + inputs + 2 + 3 * count);
  const auto memory = std::make_shared<std::vector<int32_t>>(size);
  tables_ = Tensor::borrow(memory, memory->data(), {static_cast<int64_t>(size)}, DType::i32);
  int32_t* const starts = memory->data();
  int32_t* const columns = starts + outputs + 1;
  int32_t* const column_starts = columns + count;
  int32_t* const rows = column_starts + inputs + 1;
  int32_t* const order = rows + count;
  for (int64_t i = 0; i < count; ++i) {
    columns[i] = static_cast<int32_t>(indices[i] % inputs);
    ++starts[indices[i] / inputs + 1];
    ++column_starts[columns[i] + 1];
  }
  for (int64_t n = 0; n < outputs; ++n) starts[n + 1] += starts[n];
  for (int64_t k = 0; k < inputs; ++k) column_starts[k + 1] += column_starts[k];
  std::vector<int32_t> next(column_starts, column_starts + inputs);
  for (int64_t i = 0; i < count; ++i) {
    const int32_t place = next[static_cast<size_t>(columns[i])]++;
    rows[place] = static_cast<int32_t>(indices[i] / inputs);
    order[place] = static_cast<int32_t>(i);
  }
}

std::vector<int32_t> SparseIndex::indices() const {
  std::vector<int32_t> flat(static_cast<size_t>(count_));
  for (int64_t n = 0; n < outputs_; ++n)
    for (int64_t i = starts()[n]; i < starts()[n + 1]; ++i)
      flat[static_cast<size_t>(i)] = static_cast<int32_t>(n * inputs_ + columns()[i]);
  return flat;
}

SparseIndex SparseIndex::with(Tensor tables) const {
  SparseIndex index = *this;
  index.tables_ = std::move(tables);
  return index;
}

bool SparseIndex::operator==(const SparseIndex& other) const {
  if (outputs_ != other.outputs_ || inputs_ != other.inputs_ || count_ != other.count_) return false;
  // The tables by columns follow from those by rows.
  return count_ == 0 || starts() == other.starts() ||
         std::equal(starts(), starts() + outputs_ + 1 + count_, other.starts());
}

}  // namespace rubricate
