#include "binding/merged_weight.h"

#include <algorithm>
#include <memory>

#include "base/limits.h"
#include "binding/version.h"
#include "binding/weights.h"
#include "tensor/conversion.h"
#include "tensor/transpose.h"

namespace rubricate::binding {
namespace {

SiteMerge merge_argument(const Napi::Object& change, const Architecture& architecture) {
  const auto version = VersionHandle::argument(change.Get("version"), "version");
  const auto site = value_of(kSiteNames, string_argument(change.Get("site"), "site"));
  require(site.has_value(), "ERR_ARGUMENT", "Expected a site but received another name");
  const int64_t layer = integer_argument(change.Get("layer"), "layer", 0, limits::kMaxLayers);
  return {architecture, version->version, layer, *site};
}

// The merged values of one part.
void merge_part(ModelState& state, const MergedPart& part, const Tensor& to, const std::atomic<bool>& cancelled) {
  const auto weight_of = [&](const std::string& name) {
    return in_order(current_weight(state, name), std::make_shared<Arena>());
  };
  const Tensor from = part.name.empty() ? Tensor() : weight_of(part.name);
  require(!from.defined() || from.shape() == part.shape, "ERR_SHAPE", "Expected shape ",
          from.defined() ? shape_text(from.shape()) : "", " for ", part.name, " but received ", shape_text(part.shape));
  if (!part.merge && !from.defined()) {
    set_zero(to);
  } else if (!part.merge) {
    convert(from.raw(), from.dtype(), to.raw(), to.dtype(), to.count());
  } else if (part.is_bias) {
    part.merge->bias(
        to, from.defined() ? &from : nullptr, [&] { return weight_of(part.merge->weight_name()); }, cancelled);
  } else {
    require(from.defined(), "ERR_ARGUMENT", "Expected a name for a weight");
    part.merge->weight(to, from, cancelled);
  }
}

}  // namespace

std::vector<MergedPart> merged_parts_argument(const Napi::Value& value, const Architecture& architecture) {
  const Napi::Array array = array_argument(value, "parts");
  std::vector<MergedPart> parts;
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const Napi::Object object = object_argument(array.Get(i), "parts");
    MergedPart part;
    if (const Napi::Value name = object.Get("name"); !is_missing(name)) part.name = string_argument(name, "name");
    part.shape = shape_argument(object.Get("shape"), "shape");
    if (const Napi::Value change = object.Get("change"); !is_missing(change)) {
      const Napi::Object own = object_argument(change, "change");
      part.merge.emplace(merge_argument(own, architecture));
      part.is_bias = boolean_argument(own.Get("bias"), "bias");
    }
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
    merge_part(state, part, to, cancelled);
  }
  if (!transposed) return whole;
  require(shape.size() == 2, "ERR_ARGUMENT", "Expected matrices but received shape ", shape_text(shape));
  Tensor result = Tensor::empty(arena, {shape[1], shape[0]}, dtype);
  transpose(whole.raw(), shape[1], result.raw(), shape[1], shape[0], dtype_size(dtype));
  return result;
}

}  // namespace rubricate::binding
