#include "binding/weights.h"

#include <algorithm>
#include <cstring>

#include "tensor/conversion.h"
#include "tensor/transpose.h"

namespace rubricate::binding {
namespace {

template <typename T>
void append(std::string& bytes, T value) {  // little-endian, like every platform that Node runs on
  bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

const TensorSource& stored(const ModelState& state, const std::string& name) {
  const auto found = state.checkpoint.tensors.find(name);
  require(found != state.checkpoint.tensors.end(), "ERR_TENSOR_MISSING", "Expected the canonical name of a tensor but ",
          name, " is none");
  return found->second;
}

// The fp32 master of a trained weight, or null.
const Parameter* master(ModelState& state, const std::string& name) {
  if (!state.model->trainable()) return nullptr;
  for (const Parameter& parameter : state.model->make_trainable()->parameters())
    if (parameter.name == name) return &parameter;
  return nullptr;
}

}  // namespace

TensorSource current_weight(ModelState& state, const std::string& name) {
  TensorSource source = stored(state, name);
  if (const Parameter* parameter = master(state, name)) {
    const Tensor copy = Tensor::empty(std::make_shared<Arena>(), source.shape, source.dtype);
    convert_elements(copy, parameter->master);
    source.data = copy.raw();
    source.owner = std::make_shared<Tensor>(copy);
    source.file.reset();
    source.column_stride = 0;
  }
  return source;
}

Tensor stored_weight(ModelState& state, const std::vector<std::string>& names, bool transposed) {
  require(!names.empty(), "ERR_ARGUMENT", "Expected at least one name for names but received none");
  const auto arena = std::make_shared<Arena>();
  std::vector<Tensor> parts;
  for (const std::string& name : names) parts.push_back(in_order(current_weight(state, name), arena));
  Shape shape = parts.front().shape();
  for (size_t i = 1; i < parts.size(); ++i) {
    Shape alike = parts[i].shape();
    require(parts[i].dtype() == parts.front().dtype() && alike.size() == shape.size() &&
                std::equal(alike.begin() + 1, alike.end(), shape.begin() + 1),
            "ERR_ARGUMENT", "Expected tensors of one dtype and width for names but received ", names[i], " of ",
            dtype_name(parts[i].dtype()), " ", shape_text(alike));
    shape[0] += alike[0];
  }
  Tensor whole = parts.front();
  if (parts.size() > 1) {
    whole = Tensor::empty(arena, shape, parts.front().dtype());
    auto* to = static_cast<char*>(whole.raw());
    for (const Tensor& part : parts) to = std::copy_n(static_cast<const char*>(part.raw()), part.bytes(), to);
  }
  if (!transposed) return whole;
  require(shape.size() == 2, "ERR_ARGUMENT", "Expected matrices for names but received shape ", shape_text(shape));
  Tensor result = Tensor::empty(arena, {shape[1], shape[0]}, whole.dtype());
  transpose(whole.raw(), shape[1], result.raw(), shape[1], shape[0], dtype_size(whole.dtype()));
  return result;
}

std::string fingerprint(ModelState& state, const std::atomic<bool>& cancelled) {
  constexpr int64_t kSamples = 64;
  std::string bytes;
  for (const auto& [name, unused] : state.checkpoint.tensors) {  // a map: sorted
    require(!cancelled.load(), "ERR_ABORTED", "The operation was aborted");
    const TensorSource source = current_weight(state, name);
    bytes.append(name.c_str(), name.size() + 1);
    append<int64_t>(bytes, static_cast<int64_t>(source.shape.size()));
    for (const int64_t size : source.shape) append<int64_t>(bytes, size);
    const int64_t count = element_count(source.shape);
    for (int64_t i = 0; i < kSamples && count > 0; ++i) {
      float value = 0.0f;
      const int64_t element = i * (count / kSamples) + i * (count % kSamples) / kSamples;
      const void* at = source.element(element);
      char stored[sizeof(float)];
      if (source.file) {  // read, not mapped: each access to the mapping would bring more of the file into memory
        source.file->read(at, dtype_size(source.dtype), stored);
        at = stored;
      }
      convert(at, source.dtype, &value, DType::f32, 1);
      append<float>(bytes, value);
    }
  }
  return bytes;
}

int64_t mapped_bytes(const ModelState& state) {
  if (state.trainable || state.stream) return 0;
  int64_t bytes = 0;
  for (const auto& [name, source] : state.checkpoint.tensors) {
    const bool in_place = state.model->compute() == DType::f32 || source.dtype == DType::bf16;
    if (source.in_order() && source.shape.size() == 2 && in_place)
      bytes += element_count(source.shape) * dtype_size(source.dtype);
  }
  return bytes;
}

}  // namespace rubricate::binding
