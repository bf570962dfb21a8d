#include "tensor/add_in_place.h"

#include "device/cpu/thread_pool.h"
#include "device/stream.h"
#include "tensor/checks.h"
#include "tensor/elementwise_args.h"

#define RUBRICATE_KERNELS "tensor/add_in_place_kernels.inl"
#include "device/cpu/simd/for_each_target.h"

namespace rubricate {
namespace {

void add_range(void* destination, const void* source, DType dtype, int64_t begin, int64_t end) {
  RUBRICATE_DISPATCH(add_in_place_kernel, destination, source, dtype, begin, end);
}

}  // namespace

void add_in_place(const Tensor& destination, const Tensor& source) {
  require_floating(destination, "destination");
  require_like(source, destination, "source");
  require(source.stream() == destination.stream(), "ERR_FOREIGN",
          "Expected source and destination on one device and stream");
  if (Stream* stream = destination.stream()) {
    ElementwiseArgs args;
    args.op = Elementwise::add;
    args.dtype = destination.dtype();
    args.a = destination.raw();
    args.b = source.raw();
    args.out = destination.raw();
    args.end = destination.count();
    return stream->run("elementwise/1", args);
  }
  parallel_ranges(destination.count(), kElementGrain, [&](int64_t begin, int64_t end) {
    add_range(destination.raw(), source.raw(), destination.dtype(), begin, end);
  });
}

}  // namespace rubricate
