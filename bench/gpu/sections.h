// The sections of the program: each prints a table as it goes, and writes its rows to run.out.
#pragma once

#include "gpu/measure.h"

namespace rubricate::bench {

// The row kernels beside a copy of the same device, by events.
void time_row_kernels(const Run& run);

// Matmul and attention beside a loop of multiply-adds in registers.
void time_products(const Run& run);

// A training step and decoding of a LLaMA of random weights, and what PyTorch needs to do the same.
void time_training(const Run& run);
void time_decoding(const Run& run);
// Where the time of a step of 4 sequences goes, op by op.
void profile_training(const Run& run);
// Writes weights and tokens to run.handover, then takes lines "train BATCH" and "decode BATCH" on standard input (a
// step each, from a fresh adapter or cache where BATCH changes) until "end"; answers in lines of JSON.
void take_turns(const Run& run);

}  // namespace rubricate::bench
