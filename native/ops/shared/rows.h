// How flat rows fall into sequences, and which adapter each sequence uses. Rows of a sequence lie together.
#pragma once

#include <cstdint>

namespace rubricate {

struct SequenceRows {
  int64_t rows = 0;                 // all rows, T
  int64_t sequences = 0;            // S
  const int32_t* starts = nullptr;  // [S + 1]: first row of each sequence, then T; ascending
  const int32_t* slots = nullptr;   // [S]: adapter slot of each sequence; 0 means no edit
};

}  // namespace rubricate
