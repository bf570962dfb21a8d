#include "gpu/check.h"

#include <algorithm>
#include <cmath>

#include "base/dtype.h"
#include "base/error.h"
#include "tensor/conversion.h"

namespace rubricate::bench {
namespace {

constexpr int64_t kRows = 8;

int64_t row_bytes(const Tensor& tensor) { return tensor.count() / tensor.shape()[0] * dtype_size(tensor.dtype()); }

std::vector<float> widened(const std::vector<char>& stored, DType dtype) {
  std::vector<float> wide(stored.size() / static_cast<size_t>(dtype_size(dtype)));
  convert(stored.data(), dtype, wide.data(), DType::f32, static_cast<int64_t>(wide.size()));
  return wide;
}

}  // namespace

std::vector<RowRange> checked_ranges(int64_t rows) {
  if (rows <= 2 * kRows) return {{0, rows}};
  return {{0, kRows}, {rows - kRows, kRows}};
}

std::vector<char> rows_of(const Run& run, const Tensor& tensor, RowRange range) {
  const int64_t bytes = row_bytes(tensor);
  std::vector<char> rows(static_cast<size_t>(range.count * bytes));
  run.stream->download(rows.data(), static_cast<const char*>(tensor.raw()) + range.begin * bytes, range.count * bytes);
  return rows;
}

void require_close(const char* what, double found, double wanted, double largest, DType dtype) {
  const double allowed = largest * (dtype == DType::bf16 ? 0x1p-7 : 1e-5);
  require(std::abs(found - wanted) <= allowed, "ERR_INTERNAL", what, " differs from the CPU's result: expected ",
          wanted, " but received ", found);
}

void require_close(const Run& run, const char* what, const Tensor& found, RowRange range,
                   const std::vector<char>& wanted) {
  const std::vector<float> mine = widened(rows_of(run, found, range), found.dtype());
  const std::vector<float> right = widened(wanted, found.dtype());
  require(mine.size() == right.size(), "ERR_INTERNAL", what, ": expected ", right.size(), " elements");
  double largest = 0.0;
  for (const float x : right) largest = std::max(largest, static_cast<double>(std::abs(x)));
  for (size_t i = 0; i < right.size(); ++i)
    require_close(what, static_cast<double>(mine[i]), static_cast<double>(right[i]), largest, found.dtype());
}

}  // namespace rubricate::bench
