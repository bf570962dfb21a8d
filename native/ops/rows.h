// How flat rows fall into sequences, and which adapter each sequence uses. Rows of a sequence lie together.
#pragma once

#include <cstdint>
#include <memory>

namespace rubricate {

class DeviceCopies;

struct SequenceRows {
  int64_t rows = 0;                 // all rows, T
  int64_t sequences = 0;            // S
  const int32_t* starts = nullptr;  // [S + 1]: first row of each sequence, then T; ascending
  const int32_t* slots = nullptr;   // [S]: adapter slot of each sequence; 0 means no edit
  // What the ops of one forward share on a device (ops/device_copies.h); null: each op makes its own.
  std::shared_ptr<DeviceCopies> copies = nullptr;
};

// The rules of starts and slots: of batches and of ops alike. Errors: ERR_ARGUMENT.
//   starts [sequences + 1]: from 0 to `rows`, each at least `least` rows after the one before: 0 where sequences may be
//   empty; 1 where not, and then there is at least one. name: as the message says it.
void check_starts(const int32_t* starts, int64_t sequences, int64_t rows, int32_t least, const char* name = "starts");
// How many slots there are for so many sequences.
void check_slot_count(int64_t slots, int64_t sequences);
//   slots [sequences]: from 0 to `adapters`.
void check_slots(const int32_t* slots, int64_t sequences, int64_t adapters);

}  // namespace rubricate
