#include "binding/merged_weight.h"

#include <algorithm>
#include <memory>

#include "binding/weights.h"
#include "tensor/conversion.h"
#include "tensor/transpose.h"

namespace rubricate::binding {
namespace {

LinearMerge merge_argument(const Napi::Object& part) {
  LinearMerge merge;
  if (const Napi::Value low_rank = part.Get("lowRank"); !is_missing(low_rank)) {
    const Napi::Object object = object_argument(low_rank, "lowRank");
    merge.a = float32_argument(object.Get("a"), "a");
    merge.b = float32_argument(object.Get("b"), "b");
    merge.rank = integer_argument(object.Get("rank"), "rank", 1, static_cast<int64_t>(merge.a.size()));
    merge.factor = float_argument(object.Get("factor"), "factor");
  }
  if (const Napi::Value sparse = part.Get("sparse"); !is_missing(sparse)) {
    const Napi::Object object = object_argument(sparse, "sparse");
    merge.sparse_indices = int32_argument(object.Get("indices"), "indices");
    merge.sparse_values = float32_argument(object.Get("values"), "values");
  }
  if (const Napi::Value scale = part.Get("inputScale"); !is_missing(scale))
    merge.input_scale = float32_argument(scale, "inputScale");
  if (const Napi::Value scale = part.Get("scale"); !is_missing(scale)) merge.scale = float32_argument(scale, "scale");
  if (const Napi::Value own = part.Get("own"); !is_missing(own)) merge.own = float32_argument(own, "own");
  if (const Napi::Value bias = part.Get("bias"); !is_missing(bias)) merge.bias = float32_argument(bias, "bias");
  return merge;
}

}  // namespace

std::vector<MergedPart> merged_parts_argument(const Napi::Value& value) {
  const Napi::Array array = array_argument(value, "parts");
  std::vector<MergedPart> parts;
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const Napi::Object object = object_argument(array.Get(i), "parts");
    MergedPart part;
    if (const Napi::Value name = object.Get("name"); !is_missing(name)) part.name = string_argument(name, "name");
    part.shape = shape_argument(object.Get("shape"), "shape");
    part.merge = merge_argument(object);
    parts.push_back(std::move(part));
  }
  return parts;
}

Tensor merged_weight(ModelState& state, const std::vector<MergedPart>& parts, DType dtype, bool transposed,
                     const std::atomic<bool>& cancelled) {
  require(!parts.empty(), "ERR_ARGUMENT", "Expected at least one part but received none");
  Shape shape = parts.front().shape;
  for (size_t i = 0; i < parts.size(); ++i) {
    const Shape& own = parts[i].shape;
    require(!own.empty() && own.size() == shape.size() && std::equal(own.begin() + 1, own.end(), shape.begin() + 1),
            "ERR_ARGUMENT", "Expected parts of one width but received shape ", shape_text(own));
    if (i > 0) shape[0] += own[0];
  }
  const auto arena = std::make_shared<Arena>();
  const Tensor whole = Tensor::empty(arena, shape, dtype);
  int64_t begin = 0;
  for (const MergedPart& part : parts) {
    const Tensor to = whole.part(begin, part.shape);
    begin += element_count(part.shape);
    if (part.name.empty()) {
      merge_linear(to, nullptr, part.merge, cancelled);
      continue;
    }
    const Tensor from = in_order(current_weight(state, part.name), std::make_shared<Arena>());
    require(from.shape() == part.shape, "ERR_SHAPE", "Expected shape ", shape_text(from.shape()), " for ", part.name,
            " but received ", shape_text(part.shape));
    if (part.merge.changes())
      merge_linear(to, &from, part.merge, cancelled);
    else
      convert(from.raw(), from.dtype(), to.raw(), dtype, element_count(part.shape));
  }
  if (!transposed) return whole;
  require(shape.size() == 2, "ERR_ARGUMENT", "Expected matrices but received shape ", shape_text(shape));
  Tensor result = Tensor::empty(arena, {shape[1], shape[0]}, dtype);
  transpose(whole.raw(), shape[1], result.raw(), shape[1], shape[0], dtype_size(dtype));
  return result;
}

}  // namespace rubricate::binding
