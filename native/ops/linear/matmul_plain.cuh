// C = op(A) op(B) in fp32: one chain of fused multiply-adds. For fp32 operands, whose precision tensor cores would not
// keep, for mixed dtypes, and for all operands on devices without bf16 tensor cores.
//
// A block computes a tile of kM x kN elements, a thread kRows x kCols of them in registers. Panels of kPanel values of
// k are in shared memory as fp32, k by k, in two buffers: the next panel is read while this one is multiplied. An
// element's sum is one chain over k from zero (or C), for any tile.
//
// Operations: 2 M N K on the fp32 units; (kM + kN) K elements read for kM kN K multiply-adds.
#pragma once

#include "device/cuda/kernel.h"
#include "ops/linear/matmul_tensor_cores.cuh"

namespace rubricate::cuda {

constexpr int kPanel = 16;  // values of k
constexpr int kPiece = 4;   // elements that a thread reads at once

// kPiece elements at `from`, `left` of which exist; the rest are zero. `whole`: the address allows one access for all.
template <typename T>
__device__ __forceinline__ void load_piece(const T* from, int64_t left, bool whole, float (&values)[kPiece]) {
  if (whole && left >= kPiece) {
    if constexpr (sizeof(T) == 4) {
      load_vector(from, values);
    } else {
#if defined(RUBRICATE_EMULATED)
      for (int i = 0; i < kPiece; ++i) values[i] = widen(from[i]);
#else
      const uint2 words = *reinterpret_cast<const uint2*>(from);
      values[0] = widen(T{static_cast<uint16_t>(words.x & 0xffffu)});
      values[1] = widen(T{static_cast<uint16_t>(words.x >> 16)});
      values[2] = widen(T{static_cast<uint16_t>(words.y & 0xffffu)});
      values[3] = widen(T{static_cast<uint16_t>(words.y >> 16)});
#endif
    }
    return;
  }
#pragma unroll
  for (int i = 0; i < kPiece; ++i) values[i] = i < left ? widen(from[i]) : 0.0f;
}

// A thread's part of one operand's panel, kSize indices by kPanel values of k.
template <typename T, int kSize, int kThreads>
struct Carried {
  static constexpr int kPieces = kSize * kPanel / kPiece, kEach = (kPieces + kThreads - 1) / kThreads;
  float values[kEach][kPiece];

  // along_k: k is the contiguous direction. read and write use the same position in the panel.
  __device__ __forceinline__ static void place(int piece, bool along_k, int& index, int& k) {
    if (along_k) {
      index = piece / (kPanel / kPiece);
      k = piece % (kPanel / kPiece) * kPiece;
    } else {
      index = piece % (kSize / kPiece) * kPiece;
      k = piece / (kSize / kPiece);
    }
  }
  __device__ __forceinline__ void read(const StoredMatrix<T>& from, bool along_k, int64_t index0, int64_t k0) {
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const int piece = i * kThreads + static_cast<int>(threadIdx.x);
      if (kPieces % kThreads != 0 && piece >= kPieces) return;
      int index, k;
      place(piece, along_k, index, k);
      const int64_t line = along_k ? index0 + index : k0 + k, at = along_k ? k0 + k : index0 + index;
      const int64_t left = line < from.lines ? from.length - at : 0;
      load_piece(left > 0 ? from.data + line * from.stride + at : from.data, left, from.chunks, values[i]);
    }
  }
  __device__ __forceinline__ void write(float (*panel)[kSize + kPiece], bool along_k) const {
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const int piece = i * kThreads + static_cast<int>(threadIdx.x);
      if (kPieces % kThreads != 0 && piece >= kPieces) return;
      int index, k;
      place(piece, along_k, index, k);
      if (along_k) {
#pragma unroll
        for (int j = 0; j < kPiece; ++j) panel[k + j][index] = values[i][j];
      } else {
        store_16_shared(&panel[k][index], pack_16<float>(values[i]));
      }
    }
  }
};

// Position in the tile of a thread's element i: groups of up to 4 neighbours, spread over the tile.
template <int kSize, int kEach>
__device__ __forceinline__ int place_in_tile(int thread, int i) {
  constexpr int group = kEach < kPiece ? kEach : kPiece;
  return i / group * (kSize / (kEach / group)) + thread * group + i % group;
}
template <int kSize, int kEach>
__device__ __forceinline__ void read_panel(const float* line, int thread, float (&values)[kEach]) {
#pragma unroll
  for (int i = 0; i < kEach; i += kPiece) {
    if constexpr (kEach % kPiece == 0) {
      float four[kPiece];
      load_vector(line + place_in_tile<kSize, kEach>(thread, i), four);
#pragma unroll
      for (int j = 0; j < kPiece; ++j) values[i + j] = four[j];
    } else {
#pragma unroll
      for (int j = 0; j < kEach; ++j) values[j] = line[place_in_tile<kSize, kEach>(thread, j)];
    }
  }
}

template <typename TA, typename TB, int kM, int kN, int kRows, int kCols>
__global__ void __launch_bounds__((kM / kRows) * (kN / kCols))
    matmul_plain(StoredMatrix<TA> a, StoredMatrix<TB> b, MatmulResult result, bool a_along_k, bool b_along_k) {
  constexpr int kAcross = kN / kCols, kThreads = kM / kRows * kAcross;
  using PanelA = float[2][kPanel][kM + kPiece];
  using PanelB = float[2][kPanel][kN + kPiece];
  RUBRICATE_SHARED(PanelA, panel_a);
  RUBRICATE_SHARED(PanelB, panel_b);

  int64_t tile_row, tile_col;
  tile_of_block(blockIdx.x, (result.n + kN - 1) / kN, (result.m + kM - 1) / kM, tile_row, tile_col);
  const int64_t row0 = tile_row * kM, col0 = tile_col * kN, panels = (result.k + kPanel - 1) / kPanel;
  const int down = static_cast<int>(threadIdx.x) / kAcross, across = static_cast<int>(threadIdx.x) % kAcross;
  const auto row_of = [&](int i) { return row0 + place_in_tile<kM, kRows>(down, i); };
  const auto col_of = [&](int j) { return col0 + place_in_tile<kN, kCols>(across, j); };

  float sums[kRows][kCols] = {};
  if (result.accumulate) {
#pragma unroll
    for (int i = 0; i < kRows; ++i)
#pragma unroll
      for (int j = 0; j < kCols; ++j)
        if (row_of(i) < result.m && col_of(j) < result.n)
          sums[i][j] = static_cast<const float*>(result.c)[row_of(i) * result.stride + col_of(j)];
  }

  Carried<TA, kM, kThreads> next_a;
  Carried<TB, kN, kThreads> next_b;
  const auto read = [&](int64_t panel) {
    next_a.read(a, a_along_k, row0, panel * kPanel);
    next_b.read(b, b_along_k, col0, panel * kPanel);
  };
  const auto write = [&](int64_t panel) {
    next_a.write(panel_a[panel % 2], a_along_k);
    next_b.write(panel_b[panel % 2], b_along_k);
  };
  if (panels > 0) {
    read(0);
    write(0);
  }
  for (int64_t panel = 0; panel < panels; ++panel) {
    __syncthreads();  // this panel is written, and no thread reads the other one any more
    const bool more = panel + 1 < panels;
    if (more) read(panel + 1);
#pragma unroll
    for (int k = 0; k < kPanel; ++k) {
      float left[kRows], right[kCols];
      read_panel<kM>(panel_a[panel % 2][k], down, left);
      read_panel<kN>(panel_b[panel % 2][k], across, right);
#pragma unroll
      for (int i = 0; i < kRows; ++i)
#pragma unroll
        for (int j = 0; j < kCols; ++j) sums[i][j] = fmaf(left[i], right[j], sums[i][j]);
    }
    if (more) write(panel + 1);
  }

#pragma unroll
  for (int i = 0; i < kRows; ++i) {
#pragma unroll
    for (int j = 0; j < kCols; ++j) {
      const int64_t row = row_of(i), col = col_of(j);
      if (row >= result.m || col >= result.n) continue;
      const float y = result.bias != nullptr ? sums[i][j] + result.bias[col] : sums[i][j];
      if (result.bf16_result)
        static_cast<bf16*>(result.c)[row * result.stride + col] = narrow<bf16>(y);
      else
        static_cast<float*>(result.c)[row * result.stride + col] = y;
    }
  }
}

}  // namespace rubricate::cuda
