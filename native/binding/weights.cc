#include "binding/weights.h"

#include <cstring>

#include "tensor/conversion.h"

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
  }
  return source;
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
      const char* at = static_cast<const char*>(source.data) + element * dtype_size(source.dtype);
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
    if (source.shape.size() == 2 && in_place) bytes += element_count(source.shape) * dtype_size(source.dtype);
  }
  return bytes;
}

}  // namespace rubricate::binding
