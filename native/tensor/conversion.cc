#include "tensor/conversion.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "device/cpu/thread_pool.h"
#include "device/stream.h"
#include "tensor/elementwise_args.h"

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

namespace {

constexpr int64_t kPieceBytes = int64_t{16} << 20;  // of the destination, between two checks for cancellation

void upload_converted(const Tensor& to, const Tensor& from, const std::function<void(int64_t bytes)>& moved) {
  const int64_t size = dtype_size(to.dtype()), from_size = dtype_size(from.dtype());
  std::vector<char> converted;
  for (int64_t begin = 0; begin < to.count();) {
    const int64_t count = std::min(kPieceBytes / size, to.count() - begin);
    const char* piece = static_cast<const char*>(from.raw()) + begin * from_size;
    if (to.dtype() != from.dtype()) {
      converted.resize(static_cast<size_t>(count * size));
      convert(piece, from.dtype(), converted.data(), to.dtype(), count);
      piece = converted.data();
    }
    to.stream()->upload(static_cast<char*>(to.raw()) + begin * size, piece, count * size);
    begin += count;
    if (moved) moved(count * from_size);
  }
}

}  // namespace

void convert_elements(const Tensor& to, const Tensor& from, const std::function<void(int64_t bytes)>& moved) {
  require(to.count() == from.count(), "ERR_INTERNAL", "Expected ", to.count(), " elements to convert but received ",
          from.count());
  if (to.stream() != nullptr && from.stream() == nullptr) return upload_converted(to, from, moved);
  if (to.stream() == nullptr)
    convert(from.on_cpu().raw(), from.dtype(), to.raw(), to.dtype(), to.count());
  else if (to.dtype() == from.dtype())
    copy_elements(to, from);
  else
    to.stream()->run(
        "cast/1",
        CastArgs{.a = from.raw(), .from = from.dtype(), .out = to.raw(), .to = to.dtype(), .end = to.count()});
  if (moved) moved(from.bytes());
}

}  // namespace rubricate
