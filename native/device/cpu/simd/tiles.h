// The tiles of Intel's AMX: eight registers of 16 rows of 64 bytes, and an instruction that multiplies two of them as
// bf16 and adds the products to a third, of fp32. Sources: Intel 64 and IA-32 Architectures Software Developer's Manual,
// volume 1, chapter 18, and volume 2, TDPBF16PS.
//
// A thread uses tiles only inside of a TileScope. Written as assembler, because not every supported compiler has the
// intrinsics; in the test build that emulates AVX-512, as loops that give the same bits.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "base/dtype.h"

namespace rubricate::tiles {

constexpr int64_t kRows = 16;   // of a tile
constexpr int64_t kWords = 16;  // of a row: 4 bytes each, one fp32 or a pair of bf16
constexpr int64_t kRowBytes = 4 * kWords;

// Whether this processor has tiles and the system lets this process use them. Linux grants the permission to a process that
// asks, once, for all of its threads; the first call asks.
bool available();

#if defined(RUBRICATE_EMULATE_AVX512)
struct Emulated {
  float words[kRows][kWords];  // or pairs of bf16
};
inline thread_local Emulated emulated[8];

class TileScope {
 public:
  TileScope() {}  // not trivial: else a variable of it would be unused
};

template <int Tile>
inline void clear() {
  emulated[Tile] = {};
}
template <int Tile>
inline void load(const void* from, int64_t stride) {
  for (int64_t row = 0; row < kRows; ++row)
    std::memcpy(emulated[Tile].words[row], static_cast<const char*>(from) + row * stride, kRowBytes);
}
template <int Tile>
inline void store(void* to, int64_t stride) {
  for (int64_t row = 0; row < kRows; ++row)
    std::memcpy(static_cast<char*>(to) + row * stride, emulated[Tile].words[row], kRowBytes);
}

inline float flushed(float x) { return std::fpclassify(x) == FP_SUBNORMAL ? std::copysign(0.0f, x) : x; }
inline float half_of(float pair, int which) {
  const uint32_t bits = std::bit_cast<uint32_t>(pair);
  return flushed(std::bit_cast<float>(which == 0 ? bits << 16 : bits & 0xffff0000u));
}

// Even and odd k have sums of their own, each a chain of fused multiply-adds from zero; subnormal inputs and results
// count as zero.
template <int Sum, int A, int B>
inline void multiply_add() {
  for (int64_t m = 0; m < kRows; ++m)
    for (int64_t n = 0; n < kWords; ++n) {
      float sums[2] = {};
      for (int64_t k = 0; k < kWords; ++k)
        for (int which = 0; which < 2; ++which)
          sums[which] = flushed(
              std::fma(half_of(emulated[A].words[m][k], which), half_of(emulated[B].words[k][n], which), sums[which]));
      float& sum = emulated[Sum].words[m][n];
      sum = flushed(flushed(sum) + flushed(sums[0] + sums[1]));
    }
}
#elif defined(__x86_64__)
struct alignas(64) Shapes {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
inline constexpr Shapes kWholeTiles;

// Gives this thread tiles of 16 rows of 64 bytes.
class TileScope {
 public:
  TileScope() { asm volatile("ldtilecfg %0" ::"m"(kWholeTiles)); }
  ~TileScope() { asm volatile("tilerelease"); }
  TileScope(const TileScope&) = delete;
  TileScope& operator=(const TileScope&) = delete;
};

template <int Tile>
inline void clear() {
  asm volatile("tilezero %%tmm%c0" ::"i"(Tile));
}
// stride: bytes between rows.
template <int Tile>
inline void load(const void* from, int64_t stride) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(stride), "i"(Tile) : "memory");
}
template <int Tile>
inline void store(void* to, int64_t stride) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(stride), "i"(Tile) : "memory");
}
// Sum[m][n] += the products of row m of A, pairs of bf16 of consecutive k, and B[k pair][n].
template <int Sum, int A, int B>
inline void multiply_add() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(Sum), "i"(A), "i"(B));
}
#endif

}  // namespace rubricate::tiles
