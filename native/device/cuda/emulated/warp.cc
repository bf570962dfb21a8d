// Warp collectives, and the tensor core instructions that use them.
#include <bit>

#include "device/cuda/emulated/block.h"

namespace rubricate::emulation {
namespace {

bool same_call(const Thread& a, const Thread& b) {
  return a.mask == b.mask && a.where.line() == b.where.line() && a.where.column() == b.where.column();
}

}  // namespace

void collective(uint32_t mask, void* payload, Combine combine, const Location& where, Ordering ordering) {
  Thread& thread = *block.current;
  Thread* const warp = &block.threads[thread.warp * 32];
  const unsigned lanes = block.count - thread.warp * 32 < 32 ? block.count - thread.warp * 32 : 32;
  thread.where = where;
  thread.mask = mask;
  thread.payload = payload;
  thread.state = State::at_collective;
  if ((mask >> thread.lane & 1u) == 0) die("a lane calls a warp function with a mask that does not include it");
  if (ordering == Ordering::memory) thread.arrived.release();

  void* payloads[32] = {};
  bool complete = true;
  for (unsigned i = 0; i < lanes && complete; ++i) {
    if ((mask >> i & 1u) == 0) continue;
    complete = warp[i].state == State::at_collective && same_call(warp[i], thread);
    payloads[i] = warp[i].payload;
  }
  if (!complete) {
    wait_until_ready();
  } else {
    {
      const NotTheKernels scope;
      combine(payloads);
    }
    for (unsigned i = 0; i < lanes; ++i)
      if (payloads[i] != nullptr && ordering == Ordering::memory) warp[i].arrived.acquire();
    for (unsigned i = 0; i < lanes; ++i) {
      if (payloads[i] == nullptr) continue;
      if (ordering == Ordering::memory) warp[i].resumed.release();
      warp[i].state = State::ready;
    }
  }
  if (ordering == Ordering::memory) thread.resumed.acquire();
}

namespace {

struct Fragments {
  float* d;
  const uint32_t* a;
  const uint32_t* b;
};

// d += A B, k ascending. Products of bf16 are exact in fp32, so this is one chain of fused multiply-adds per element.
void multiply(void* const* payloads, const float (&a)[16][16], const float (&b)[16][8]) {
  float sums[16][8];
  const auto each_element = [payloads, &sums](auto&& visit) {
    for (int lane = 0; lane < 32; ++lane)
      for (int i = 0; i < 4; ++i)
        visit(static_cast<const Fragments*>(payloads[lane])->d[i],
              sums[lane / 4 + 8 * (i / 2)][2 * (lane % 4) + i % 2]);
  };
  each_element([](float& d, float& sum) { sum = d; });
  for (int row = 0; row < 16; ++row)
    for (int k = 0; k < 16; ++k)
      for (int column = 0; column < 8; ++column) sums[row][column] += a[row][k] * b[k][column];
  each_element([](float& d, float& sum) { d = sum; });
}

float low(uint32_t pair) { return std::bit_cast<float>(pair << 16); }
float high(uint32_t pair) { return std::bit_cast<float>(pair & 0xffff0000u); }

void combine_bf16(void* const* payloads) {
  float a[16][16], b[16][8];
  for (int lane = 0; lane < 32; ++lane) {
    if (payloads[lane] == nullptr) die("mma needs all 32 lanes");
    const Fragments& fragments = *static_cast<const Fragments*>(payloads[lane]);
    const int group = lane / 4, quad = lane % 4;
    for (int i = 0; i < 4; ++i) {
      float* const pair = &a[group + 8 * (i % 2)][2 * quad + 8 * (i / 2)];
      pair[0] = low(fragments.a[i]);
      pair[1] = high(fragments.a[i]);
    }
    for (int i = 0; i < 2; ++i) {
      b[2 * quad + 8 * i][group] = low(fragments.b[i]);
      b[2 * quad + 8 * i + 1][group] = high(fragments.b[i]);
    }
  }
  multiply(payloads, a, b);
}

struct MatrixRow {
  uint16_t elements[8];
  uint32_t* words;
  bool transposed;
};

void combine_matrices(void* const* payloads) {
  const auto element = [payloads](int matrix, int row, int column) -> uint32_t {
    return static_cast<const MatrixRow*>(payloads[8 * matrix + row])->elements[column];
  };
  for (int lane = 0; lane < 32; ++lane)
    if (payloads[lane] == nullptr) die("ldmatrix needs all 32 lanes");
  for (int lane = 0; lane < 32; ++lane) {
    const MatrixRow& mine = *static_cast<const MatrixRow*>(payloads[lane]);
    const int long_way = lane / 4, pair = 2 * (lane % 4);
    for (int i = 0; i < 4; ++i)
      mine.words[i] = mine.transposed ? element(i, pair, long_way) | element(i, pair + 1, long_way) << 16
                                      : element(i, long_way, pair) | element(i, long_way, pair + 1) << 16;
  }
}

}  // namespace

void mma_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], const Location& where) {
  Fragments fragments{d, a, b};
  collective(0xffffffffu, &fragments, combine_bf16, where);
}

void distribute_matrices(uint32_t (&words)[4], const uint16_t (&row)[8], bool transposed, const Location& where) {
  MatrixRow payload{{}, words, transposed};
  for (int i = 0; i < 8; ++i) payload.elements[i] = row[i];
  collective(0xffffffffu, &payload, combine_matrices, where);
}

}  // namespace rubricate::emulation
