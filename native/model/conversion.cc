#include "model/conversion.h"

#include <cstring>

#include "base/error.h"
#include "device/cpu/thread_pool.h"

namespace rubricate {
namespace {

template <typename From, typename To>
void convert_as(const void* source, void* destination, int64_t count) {
  parallel_ranges(count, 1 << 16, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      From from;
      std::memcpy(&from, static_cast<const char*>(source) + i * static_cast<int64_t>(sizeof(From)), sizeof(From));
      const To to = from_float<To>(to_float(from));
      std::memcpy(static_cast<char*>(destination) + i * static_cast<int64_t>(sizeof(To)), &to, sizeof(To));
    }
  });
}

template <typename From>
void convert_from(const void* source, void* destination, DType dtype, int64_t count) {
  switch (dtype) {
    case DType::f32:
      return convert_as<From, float>(source, destination, count);
    case DType::bf16:
      return convert_as<From, bf16>(source, destination, count);
    case DType::f16:
      return convert_as<From, f16>(source, destination, count);
    case DType::i32:
      break;
  }
  fail("ERR_DTYPE", "Expected a floating-point dtype but received ", dtype_name(dtype));
}

}  // namespace

void convert(const void* source, DType source_dtype, void* destination, DType destination_dtype, int64_t count) {
  if (source_dtype == destination_dtype) {
    std::memcpy(destination, source, static_cast<size_t>(count * dtype_size(source_dtype)));
    return;
  }
  switch (source_dtype) {
    case DType::f32:
      return convert_from<float>(source, destination, destination_dtype, count);
    case DType::bf16:
      return convert_from<bf16>(source, destination, destination_dtype, count);
    case DType::f16:
      return convert_from<f16>(source, destination, destination_dtype, count);
    case DType::i32:
      break;
  }
  fail("ERR_DTYPE", "Expected a floating-point dtype but received ", dtype_name(source_dtype));
}

}  // namespace rubricate
