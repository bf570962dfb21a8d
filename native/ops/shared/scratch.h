// One thread's scratch memory for a kernel: aligned for vector loads, kept from call to call; it only grows.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>

#include "base/error.h"

namespace rubricate {

// Use as `static thread_local Scratch scratch;`.
class Scratch {
 public:
  // Room for `count` fp32 numbers, aligned to 64 bytes; growing discards the contents. purpose: the end of the message
  // of ERR_OUT_OF_MEMORY, after which the scratch is empty.
  float* reserve(int64_t count, const char* purpose) {
    if (count > count_) {
      const size_t bytes = (static_cast<size_t>(count) * sizeof(float) + 63) / 64 * 64;
      memory_.reset();
      count_ = 0;
      memory_.reset(static_cast<float*>(std::aligned_alloc(64, bytes)));
      require(memory_ != nullptr, "ERR_OUT_OF_MEMORY", "Could not allocate ", bytes, " bytes for ", purpose);
      count_ = count;
    }
    return memory_.get();
  }

 private:
  struct Free {
    void operator()(float* p) const { std::free(p); }
  };
  std::unique_ptr<float, Free> memory_;
  int64_t count_ = 0;
};

}  // namespace rubricate
