// Checks of every fuzz target: a broken input throws an Error with the right code, and reading takes at most ten times
// the input's bytes of memory.
#pragma once

#include <sanitizer/allocator_interface.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>

#include "base/error.h"

namespace rubricate::fuzz {

[[noreturn]] inline void found(const char* what, const char* detail = "") {
  std::fprintf(stderr, "%s %s\n", what, detail);
  std::abort();
}

// Bytes currently allocated, and the peak since reset().
class Memory {
 public:
  static Memory& instance() {
    static Memory memory;
    return memory;
  }
  void reset() { peak_ = used_ = 0; }
  int64_t peak() const { return peak_; }

 private:
  Memory() {
    const auto taken = [](const volatile void*, size_t bytes) { instance().add(static_cast<int64_t>(bytes)); };
    const auto given = [](const volatile void* address) {
      if (address != nullptr)
        instance().add(-static_cast<int64_t>(__sanitizer_get_allocated_size(const_cast<void*>(address))));
    };
    if (__sanitizer_install_malloc_and_free_hooks(taken, given) == 0) found("no hook for memory");
  }
  void add(int64_t bytes) {
    used_ += bytes;
    if (used_ > peak_) peak_ = used_;
  }
  int64_t used_ = 0, peak_ = 0;
};

// Runs body() and checks that it throws only an Error with one of those codes, and that it allocates at most ten times
// `size` plus `constant` bytes at once.
template <typename Body>
void check(size_t size, int64_t constant, std::initializer_list<const char*> codes, Body&& body) {
  Memory::instance().reset();
  try {
    body();
  } catch (const Error& error) {
    bool known = false;
    for (const char* code : codes) known = known || std::strcmp(code, error.code()) == 0;
    if (!known) found(error.code(), error.what());
    if (std::strlen(error.what()) > 2000) found("a long message:", error.what());
  }
  if (Memory::instance().peak() > 10 * static_cast<int64_t>(size) + constant)
    found("more than ten times the input's bytes:", std::to_string(Memory::instance().peak()).c_str());
}

}  // namespace rubricate::fuzz
