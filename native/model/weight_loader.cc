#include "model/weight_loader.h"

#include "base/error.h"
#include "tensor/conversion.h"

namespace rubricate {
WeightLoader::WeightLoader(const Architecture& architecture, const std::map<std::string, TensorSource>& tensors,
                           DType compute, const std::shared_ptr<Arena>& arena, const Taken& taken)
    : tensors_(tensors), compute_(compute), arena_(arena), taken_(taken) {
  for (TensorSpec& spec : tensor_specs(architecture)) shapes_.emplace(std::move(spec.name), std::move(spec.shape));
}

const TensorSource& WeightLoader::find(const std::string& name, const Shape& shape) const {
  const auto found = tensors_.find(name);
  require(found != tensors_.end(), "ERR_TENSOR_MISSING", "Expected a tensor ", name, " of shape ", shape_text(shape),
          " in the checkpoint but there is none");
  const TensorSource& source = found->second;
  require(source.shape == shape, "ERR_SHAPE", "Expected shape ", shape_text(shape), " for ", name,
          " but the checkpoint has ", shape_text(source.shape));
  require(source.dtype != DType::i32, "ERR_DTYPE", "Expected float32, bfloat16 or float16 for ", name,
          " but the checkpoint has int32");
  return source;
}

Tensor WeightLoader::copied(const TensorSource& source, DType dtype) const {
  if (!source.in_order() && dtype == source.dtype && arena_->stream() == nullptr) {
    const Tensor copy = in_order(source, arena_);
    if (taken_) taken_(copy.bytes());
    return copy;
  }
  Tensor copy = Tensor::empty(arena_, source.shape, dtype);
  convert_elements(copy, in_order(source, std::make_shared<Arena>()), taken_);
  return copy;
}

Weight WeightLoader::matrix(const std::string& name) const {
  const TensorSource& source = find(name, shapes_.at(name));
  const DType dtype = compute_ == DType::bf16 ? DType::bf16 : source.dtype;
  if (dtype != source.dtype || arena_->stream() != nullptr || !source.in_order())
    return Weight::of(copied(source, dtype));
  const Tensor mapped = in_order(source, arena_);
  if (taken_) taken_(mapped.bytes());
  return Weight::of(mapped);
}

Var WeightLoader::vector(const std::string& name) const {
  const auto shape = shapes_.find(name);
  if (shape == shapes_.end()) return {};
  return copied(find(name, shape->second), DType::f32);
}

LinearLayer WeightLoader::linear(int64_t layer, Site site) const {
  const std::string name = site_name(layer, site);
  return {matrix(name + ".weight"), vector(name + ".bias")};
}

}  // namespace rubricate
