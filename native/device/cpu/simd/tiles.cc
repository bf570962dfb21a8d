#include "device/cpu/simd/tiles.h"

#if defined(__x86_64__) && defined(__linux__) && !defined(RUBRICATE_EMULATE_AVX512)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace rubricate::tiles {
namespace {

#if defined(RUBRICATE_EMULATE_AVX512)
bool found() { return true; }
#elif defined(__x86_64__) && defined(__linux__)
bool found() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  constexpr unsigned kBf16 = 1u << 22, kTiles = 1u << 24;  // of edx
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (d & kBf16) == 0 || (d & kTiles) == 0) return false;
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, since Linux 5.16
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}
#else
bool found() { return false; }
#endif

}  // namespace

bool available() {
  static const bool there = found();
  return there;
}

}  // namespace rubricate::tiles
