#include "adapter/merge.h"

#include <algorithm>

#include "base/error.h"
#include "base/integers.h"
#include "device/cpu/thread_pool.h"
#include "tensor/conversion.h"

namespace rubricate {
namespace {

constexpr int64_t kRangeElements = 1 << 16;  // of a matrix, for one thread at a time

void require_count(const char* name, const std::vector<float>& values, int64_t count) {
  require(static_cast<int64_t>(values.size()) == count, "ERR_SHAPE", "Expected ", count, " numbers for ", name,
          " but received ", values.size());
}

// Indices that are not ascending or out of range would be added elsewhere, or not at all.
void require_indices(const std::vector<int32_t>& indices, int64_t count) {
  for (size_t i = 0; i < indices.size(); ++i)
    require(indices[i] > (i > 0 ? indices[i - 1] : -1) && indices[i] < count, "ERR_ARGUMENT",
            "Expected ascending numbers from 0 to ", count - 1, " for sparse_indices but received ", indices[i]);
}

// The entries of S in one row.
void add_entries(float* row, int64_t width, int64_t output, const LinearMerge& merge) {
  const std::vector<int32_t>& all = merge.sparse_indices;
  const int64_t begin = output * width;
  for (auto at = std::lower_bound(all.begin(), all.end(), begin); at != all.end() && *at < begin + width; ++at)
    row[*at - begin] += merge.sparse_values[static_cast<size_t>(at - all.begin())];
}

// One output: `row` has `width` elements of W, or one of b.
void merge_row(float* row, int64_t width, int64_t output, const LinearMerge& merge) {
  if (!merge.input_scale.empty())
    for (int64_t k = 0; k < width; ++k) row[k] *= merge.input_scale[static_cast<size_t>(k)];
  for (int64_t r = 0; r < merge.rank; ++r) {
    const float times = merge.factor * merge.b[static_cast<size_t>(output * merge.rank + r)];
    const float* const a = merge.a.data() + r * width;
    for (int64_t k = 0; k < width; ++k) row[k] += times * a[k];
  }
  add_entries(row, width, output, merge);
  if (!merge.scale.empty()) {
    const float scale = merge.scale[static_cast<size_t>(output)];
    for (int64_t k = 0; k < width; ++k) row[k] *= scale;
  }
  if (!merge.own.empty()) row[0] = merge.own[static_cast<size_t>(output)];
  if (!merge.bias.empty()) row[0] += merge.bias[static_cast<size_t>(output)];
}

}  // namespace

void merge_linear(const Tensor& to, const Tensor* from, const LinearMerge& merge, const std::atomic<bool>& cancelled) {
  const Shape& shape = to.shape();
  require(shape.size() == 1 || shape.size() == 2, "ERR_SHAPE", "Expected a vector or a matrix but received shape ",
          shape_text(shape));
  require(!from || from->shape() == shape, "ERR_SHAPE", "Expected shape ", shape_text(shape), " but received ",
          from ? shape_text(from->shape()) : "");
  const int64_t outputs = shape[0], width = shape.size() == 2 ? shape[1] : 1;
  if (!merge.own.empty()) require_count("own", merge.own, shape.size() == 1 ? outputs : 0);
  if (merge.rank > 0) {
    require_count("a", merge.a, merge.rank * width);
    require_count("b", merge.b, outputs * merge.rank);
  }
  if (!merge.sparse_indices.empty()) {
    require_count("sparse_values", merge.sparse_values,
                  shape.size() == 2 ? static_cast<int64_t>(merge.sparse_indices.size()) : 0);
    require_indices(merge.sparse_indices, outputs * width);
  }
  if (!merge.input_scale.empty()) require_count("input_scale", merge.input_scale, shape.size() == 2 ? width : 0);
  if (!merge.scale.empty()) require_count("scale", merge.scale, outputs);
  if (!merge.bias.empty()) require_count("bias", merge.bias, shape.size() == 1 ? outputs : 0);
  const int64_t grain = std::max<int64_t>(1, kRangeElements / std::max<int64_t>(1, width));
  parallel_ranges(outputs, grain, [&](int64_t begin, int64_t end) {
    if (cancelled.load()) return;
    std::vector<float> row(static_cast<size_t>(width));
    const int64_t to_size = dtype_size(to.dtype()) * width;
    for (int64_t output = begin; output < end; ++output) {
      if (from) {
        const char* const stored = static_cast<const char*>(from->raw()) + output * width * dtype_size(from->dtype());
        convert(stored, from->dtype(), row.data(), DType::f32, width);
      } else {
        std::fill(row.begin(), row.end(), 0.0f);
      }
      merge_row(row.data(), width, output, merge);
      convert(row.data(), DType::f32, static_cast<char*>(to.raw()) + output * to_size, to.dtype(), width);
    }
  });
  require(!cancelled.load(), "ERR_ABORTED", "The operation was aborted");
}

}  // namespace rubricate
