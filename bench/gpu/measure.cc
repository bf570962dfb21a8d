#include "gpu/measure.h"

#include <cmath>

#include "base/dtype.h"
#include "tensor/conversion.h"

namespace rubricate::bench {

std::vector<float> random_block(int64_t count, DType dtype, uint32_t seed, float scale) {
  std::vector<float> wide(static_cast<size_t>(std::min<int64_t>(count, 1 << 22)));
  for (float& x : wide) {
    seed = seed * 1664525u + 1013904223u;
    x = (static_cast<float>(seed >> 8) * 0x1p-24f - 0.5f) * scale;
  }
  if (dtype == DType::f32) return wide;
  const auto block = static_cast<int64_t>(wide.size());
  std::vector<char> stored(static_cast<size_t>(block * dtype_size(dtype)));
  convert(wide.data(), DType::f32, stored.data(), dtype, block);
  convert(stored.data(), dtype, wide.data(), DType::f32, block);
  return wide;
}

Tensor random_on_device(const Run& run, const Shape& shape, DType dtype, uint32_t seed, float scale) {
  const Tensor out = Tensor::empty(run.arena(), shape, dtype);
  const std::vector<float> wide = random_block(out.count(), dtype, seed, scale);
  const auto block = static_cast<int64_t>(wide.size());
  std::vector<char> stored(static_cast<size_t>(block * dtype_size(dtype)));
  convert(wide.data(), DType::f32, stored.data(), dtype, block);
  for (int64_t at = 0; at < out.count(); at += block)
    run.stream->upload(static_cast<char*>(out.raw()) + at * dtype_size(dtype), stored.data(),
                       std::min(block, out.count() - at) * dtype_size(dtype));
  run.stream->synchronize();
  return out;
}

void require_written(const Run& run, const char* what, const std::vector<Tensor>& outputs) {
  if (!run.device.emulated()) return;
  for (const Tensor& output : outputs) {
    const Tensor here = output.on_cpu();
    std::vector<float> wide(static_cast<size_t>(here.count()));
    convert(here.raw(), here.dtype(), wide.data(), DType::f32, here.count());
    require(std::all_of(wide.begin(), wide.end(), [](float x) { return std::isfinite(x); }), "ERR_INTERNAL", what,
            " left a part of its result unwritten");
  }
}

}  // namespace rubricate::bench
