// Parsers do not use devices: these stubs of the device functions end the fuzzer if they are called.
#include "device/device.h"
#include "device/stream.h"

namespace rubricate {

void Stream::fill(void*, int, int64_t) { __builtin_trap(); }
void Stream::upload(void*, const void*, int64_t) { __builtin_trap(); }
void Stream::download(void*, const void*, int64_t) { __builtin_trap(); }
void Stream::copy(void*, const void*, int64_t) { __builtin_trap(); }
void Device::attach(Arena*) { __builtin_trap(); }
void Device::detach(Arena*) noexcept { __builtin_trap(); }
void* Device::allocate(int64_t) { __builtin_trap(); }
void Device::release(void*, int64_t) noexcept { __builtin_trap(); }

}  // namespace rubricate
