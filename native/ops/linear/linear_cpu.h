// Kernels of the packed matmul on raw pointers: the part that differs between instruction sets. linear_cpu.cc blocks
// the work and splits it over threads.
//
// Operands are packed into panels of words: of mr rows of op(A), or of nr columns of op(B). A word is one fp32 value of one
// k, or a pair of bf16 values of two consecutive k. The order of the words in a panel is the kernels' own; those of
// consecutive steps of k are consecutive, step by step or block by block of `word_block` steps.
#pragma once

#include <cstdint>
#include <span>

#include "ops/linear/linear.h"

namespace rubricate {

struct PanelSource {
  const void* data = nullptr;  // element (panel index 0, k 0); any alignment
  DType dtype = DType::f32;
  int64_t stride = 0;         // elements between stored rows
  bool k_contiguous = false;  // stored [index, k], else [k, index]
  int64_t count = 0;          // panel indices from `data` to the end of the matrix; later ones are packed as zeros
};

// One strip of C: `rows` by `cols`, over ceil(rows / mr) panels of A and ceil(cols / nr) panels of B. Starts from
// `from`, or from zero if it is null. Stores the fp32 sums in `partial`, or, if that is null, adds the bias and rounds
// once into `c`.
struct TileArgs {
  int64_t words = 0;         // steps of k
  const float* a = nullptr;  // ceil(rows / mr) panels of words * mr
  const float* b = nullptr;  // ceil(cols / nr) panels of words * nr
  int64_t rows = 0, cols = 0;
  const float* from = nullptr;
  int64_t from_stride = 0;
  float* partial = nullptr;
  int64_t partial_stride = 0;
  void* c = nullptr;
  DType c_dtype = DType::f32;
  int64_t c_stride = 0;
  const float* bias = nullptr;  // [cols] or null
};

struct MatmulKernels {
  int64_t mr = 0, nr = 0;  // rows of A's panels, columns of B's
  int64_t k_per_word = 1;
  int64_t word_block = 1;        // the words of a slice are a multiple of it, padded with zeros
  int64_t depth = 0;             // maximum words of k in a slice
  double sums_per_cycle = 32.0;  // steps of one element's chain, each a word, that one core does in a cycle
  int64_t strip_bytes = 0;       // maximum of packed B that a strip has: stays in the L2 cache
  int64_t block_bytes = 0;       // of A that a job packs for itself at a time: stays in the L2 cache
  bool grid_by_cost = false;     // split into jobs by cheapest_grid(), else by tuned_grid()
  // Pack `k` values of k of `count` rows (or columns) into panels. Rows (or columns) past `source.count` become zero.
  void (*pack_a)(const PanelSource& source, int64_t k, int64_t count, float* panels) = nullptr;
  void (*pack_b)(const PanelSource& source, int64_t k, int64_t count, float* panels) = nullptr;
  void (*strip)(const TileArgs& args) = nullptr;
};

void column_sum_cpu(const ColumnSumArgs& args);

// The skinny matmul of few rows by a weight, as in decoding (few_rows_cpu.cc). Memory-bound, so the weight is streamed
// once, in its stored layout, without packing. The bits are those of the packed matmul.

// Whether few_rows_cpu() supports this matmul: few rows, a weight's layout, sums that start from zero, and an
// instruction set with vectors.
bool few_rows_take(const MatmulArgs& args);

// Computes matmuls with the same A, its sizes and dtype, and the same dtype of B, in one parallel region.
// few_rows_take() returned true for each. Errors: ERR_OUT_OF_MEMORY.
void few_rows_cpu(std::span<const MatmulArgs> products);

}  // namespace rubricate
