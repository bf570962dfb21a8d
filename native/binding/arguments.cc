#include "binding/arguments.h"

#include <cmath>
#include <cstdlib>
#include <cstring>

#include "base/error.h"
#include "binding/errors.h"

namespace rubricate::binding {
namespace {

template <typename T>
std::span<T> typed_elements(const Napi::Value& value, const char* name, napi_typedarray_type expected,
                            const char* what) {
  if (value.IsEmpty() || !value.IsTypedArray()) reject_argument(name, what, value);
  napi_typedarray_type type = napi_int8_array;
  size_t length = 0;
  void* data = nullptr;
  if (napi_get_typedarray_info(value.Env(), value, &type, &length, &data, nullptr, nullptr) != napi_ok ||
      type != expected)
    reject_argument(name, what, value);
  return {static_cast<T*>(data), length};
}

template <typename T>
std::vector<T> typed_argument(const Napi::Value& value, const char* name, napi_typedarray_type expected,
                              const char* what) {
  const std::span<T> elements = typed_elements<T>(value, name, expected, what);
  return {elements.begin(), elements.end()};
}

}  // namespace

void reject_argument(const char* name, const std::string& expected, const Napi::Value& received, const char* code) {
  throw invalid_argument(received.Env(), {code, name, expected}, received);
}

double number_argument(const Napi::Value& value, const char* name) {
  if (!value.IsNumber()) reject_argument(name, "a number", value);
  return value.As<Napi::Number>().DoubleValue();
}

double finite_argument(const Napi::Value& value, const char* name) {
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : std::nan("");
  if (!std::isfinite(number)) reject_argument(name, "a finite number", value);
  return number;
}

float float_argument(const Napi::Value& value, const char* name) {
  if (!value.IsNumber()) reject_argument(name, "a finite number", value);
  const auto number = static_cast<float>(value.As<Napi::Number>().DoubleValue());
  if (!std::isfinite(number)) reject_argument(name, "a finite number", value);
  return number;
}

int64_t integer_argument(const Napi::Value& value, const char* name, int64_t least, int64_t most) {
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : std::nan("");
  if (!(number >= static_cast<double>(least) && number <= static_cast<double>(most) && number == std::floor(number)))
    reject_argument(name, concat("an integer from ", least, " to ", most), value);
  return static_cast<int64_t>(number);
}

bool boolean_argument(const Napi::Value& value, const char* name) {
  if (!value.IsBoolean()) reject_argument(name, "a boolean", value);
  return value.As<Napi::Boolean>().Value();
}

std::string string_argument(const Napi::Value& value, const char* name) {
  if (!value.IsString()) reject_argument(name, "a string", value);
  return value.As<Napi::String>().Utf8Value();
}

Napi::Object object_argument(const Napi::Value& value, const char* name) {
  if (!value.IsObject()) reject_argument(name, "an object", value);
  return value.As<Napi::Object>();
}

Napi::Array array_argument(const Napi::Value& value, const char* name) {
  if (!value.IsArray()) reject_argument(name, "an array", value);
  return value.As<Napi::Array>();
}

Napi::Function function_argument(const Napi::Value& value, const char* name) {
  if (!value.IsFunction()) reject_argument(name, "a function", value);
  return value.As<Napi::Function>();
}

std::vector<int32_t> int32_argument(const Napi::Value& value, const char* name) {
  return typed_argument<int32_t>(value, name, napi_int32_array, "an Int32Array");
}

std::vector<float> float32_argument(const Napi::Value& value, const char* name) {
  return typed_argument<float>(value, name, napi_float32_array, "a Float32Array");
}

std::span<float> float32_elements(const Napi::Value& value, const char* name) {
  return typed_elements<float>(value, name, napi_float32_array, "a Float32Array");
}

std::vector<std::string> strings_argument(const Napi::Value& value, const char* name) {
  const Napi::Array array = array_argument(value, name);
  std::vector<std::string> strings;
  for (uint32_t i = 0; i < array.Length(); ++i) strings.push_back(string_argument(array.Get(i), name));
  return strings;
}

Shape shape_argument(const Napi::Value& value, const char* name) {
  const Napi::Array array = array_argument(value, name);
  if (array.Length() > 8) reject_argument(name, "an array of at most 8 sizes", value, "ERR_SHAPE");
  Shape shape;
  for (uint32_t i = 0; i < array.Length(); ++i)
    shape.push_back(integer_argument(array.Get(i), name, 0, (int64_t{1} << 44) - 1));
  return shape;
}

DType dtype_argument(const Napi::Value& value, const char* name) { return named_argument(value, name, kDTypeNames); }

Napi::Array shape_value(Napi::Env env, const Shape& shape) {
  Napi::Array array = Napi::Array::New(env, shape.size());
  for (uint32_t i = 0; i < shape.size(); ++i) array.Set(i, static_cast<double>(shape[i]));
  return array;
}

Napi::Value float32_value(Napi::Env env, const float* data, int64_t count) {
  Napi::Float32Array array = Napi::Float32Array::New(env, static_cast<size_t>(count));
  if (count > 0) std::memcpy(array.Data(), data, static_cast<size_t>(count) * sizeof(float));
  return array;
}

Buffer::Buffer(int64_t bytes)
    : data_(std::malloc(static_cast<size_t>(bytes > 0 ? bytes : 1)), &std::free), bytes_(bytes) {
  require(data_ != nullptr, "ERR_OUT_OF_MEMORY", "Could not allocate ", bytes, " bytes");
}

Tensor Buffer::tensor(Shape shape, DType dtype) const {
  Tensor tensor = Tensor::borrow(data_, data_.get(), std::move(shape), dtype);
  require(tensor.bytes() <= bytes_, "ERR_INTERNAL", "Expected a buffer of ", tensor.bytes(), " bytes but it has ",
          bytes_);
  return tensor;
}

Napi::ArrayBuffer Buffer::release(Napi::Env env) {
  constexpr int64_t kCopied = 4096;  // up to this size a copy is cheaper than a finalizer
  const auto size = static_cast<size_t>(bytes_);
  if (bytes_ > kCopied) {
    auto* owner = new std::shared_ptr<void>(data_);
    napi_value result = nullptr;
    const napi_status status = napi_create_external_arraybuffer(
        env, data_.get(), size, [](napi_env, void*, void* hint) { delete static_cast<std::shared_ptr<void>*>(hint); },
        owner, &result);
    data_.reset();
    if (status == napi_ok) return {env, result};
    data_ = *owner;  // some implementations of Node-API do not allow external memory
    delete owner;
  }
  Napi::ArrayBuffer copy = Napi::ArrayBuffer::New(env, size);
  if (size > 0) std::memcpy(copy.Data(), data_.get(), size);
  data_.reset();
  return copy;
}

}  // namespace rubricate::binding
