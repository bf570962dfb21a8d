// The sections of the program: each prints a table while it runs, and writes its rows to run.out.
#pragma once

#include "gpu/measure.h"

namespace rubricate::bench {

// The row kernels compared with a copy on the same device, by device events.
void time_row_kernels(const Run& run);

// Matmul and attention compared with a loop of multiply-adds in registers.
void time_products(const Run& run);

// A training step and decoding of a LLaMA with random weights, and the data with which PyTorch does the same.
void time_training(const Run& run);
void time_decoding(const Run& run);
// The time of a step of 4 sequences by op.
void profile_training(const Run& run);
// Writes weights and tokens to run.handover, then reads lines "train BATCH" and "decode BATCH" from standard input (a
// step each, with a fresh adapter or cache if BATCH changes) until "end"; answers in lines of JSON.
void take_turns(const Run& run);

}  // namespace rubricate::bench
