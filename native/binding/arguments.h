// Checked reading of arguments from JavaScript. lib/ checks first, with better messages; the binding checks again,
// since JavaScript can reach every object of the binding.
//
// All functions throw ERR_ARGUMENT, "Expected WHAT for NAME but received VALUE", worded as in lib/errors.ts.
#pragma once

#include <napi.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "base/error.h"
#include "base/named.h"
#include "tensor/tensor.h"

namespace rubricate::binding {

[[noreturn]] void reject_argument(const char* name, const std::string& expected, const Napi::Value& received,
                                  const char* code = "ERR_ARGUMENT");

double number_argument(const Napi::Value& value, const char* name);
// A finite number; the core checks the range.
double finite_argument(const Napi::Value& value, const char* name);
float float_argument(const Napi::Value& value, const char* name);
int64_t integer_argument(const Napi::Value& value, const char* name, int64_t least, int64_t most);
bool boolean_argument(const Napi::Value& value, const char* name);
std::string string_argument(const Napi::Value& value, const char* name);
Napi::Object object_argument(const Napi::Value& value, const char* name);
Napi::Array array_argument(const Napi::Value& value, const char* name);
Napi::Function function_argument(const Napi::Value& value, const char* name);
std::vector<int32_t> int32_argument(const Napi::Value& value, const char* name);  // an Int32Array, copied
std::vector<float> float32_argument(const Napi::Value& value, const char* name);  // a Float32Array, copied
// The elements of a Float32Array, which are valid until JavaScript runs.
std::span<float> float32_elements(const Napi::Value& value, const char* name);
std::vector<std::string> strings_argument(const Napi::Value& value, const char* name);
Shape shape_argument(const Napi::Value& value, const char* name);
DType dtype_argument(const Napi::Value& value, const char* name);  // "float32", ...
// The enum value whose name in the table equals the argument.
template <typename E, size_t n>
E named_argument(const Napi::Value& value, const char* name, const std::array<Named<E>, n>& table) {
  if (value.IsString())
    if (const auto found = value_of(table, value.As<Napi::String>().Utf8Value())) return *found;
  std::string expected;
  for (const Named<E>& each : table) expected += concat(expected.empty() ? "\"" : " or \"", each.name, "\"");
  reject_argument(name, expected, value);
}
// True for null and undefined.
inline bool is_missing(const Napi::Value& value) { return value.IsEmpty() || value.IsUndefined() || value.IsNull(); }

// New JavaScript values.
Napi::Array shape_value(Napi::Env env, const Shape& shape);
Napi::Value float32_value(Napi::Env env, const float* data, int64_t count);  // a copy

// Memory that becomes a typed array without a copy on the JavaScript thread. A job fills it on its own thread.
class Buffer {
 public:
  explicit Buffer(int64_t bytes);  // throws ERR_OUT_OF_MEMORY
  void* data() const { return data_.get(); }
  int64_t bytes() const { return bytes_; }
  // The memory as a tensor with the given shape. Throws ERR_INTERNAL if the buffer is too small.
  Tensor tensor(Shape shape, DType dtype) const;
  // Transfers ownership of the memory to JavaScript; call once.
  Napi::ArrayBuffer release(Napi::Env env);

 private:
  std::shared_ptr<void> data_;
  int64_t bytes_;
};

}  // namespace rubricate::binding
