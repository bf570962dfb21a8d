// How flat rows fall into sequences, and which adapter each sequence uses. Rows of a sequence lie together.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace rubricate {

struct SequenceRows {
  int64_t rows = 0;                 // all rows, T
  int64_t sequences = 0;            // S
  const int32_t* starts = nullptr;  // [S + 1]: first row of each sequence, then T; ascending
  const int32_t* slots = nullptr;   // [S]: adapter slot of each sequence; 0 means no edit
};

// Calls body(begin, end, slot) for the runs of rows of one sequence within [begin, end).
template <typename Body>
void for_each_segment(const SequenceRows& rows, int64_t begin, int64_t end, Body&& body) {
  const int32_t* last = rows.starts + rows.sequences + 1;
  int64_t s = std::upper_bound(rows.starts, last, begin) - rows.starts - 1;  // the last that starts at or before
  for (; begin < end; ++s) {
    const int64_t stop = std::min<int64_t>(end, rows.starts[s + 1]);
    if (stop > begin) body(begin, stop, rows.slots[s]);
    begin = std::max(begin, stop);
  }
}

// A copy of the rows for backward: the caller's arrays need not outlive the forward.
class SavedRows {
 public:
  explicit SavedRows(const SequenceRows& rows)
      : rows_(rows.rows),
        starts_(rows.starts, rows.starts + rows.sequences + 1),
        slots_(rows.slots, rows.slots + rows.sequences) {}
  SequenceRows view() const { return {rows_, static_cast<int64_t>(slots_.size()), starts_.data(), slots_.data()}; }

 private:
  int64_t rows_;
  std::vector<int32_t> starts_, slots_;
};

}  // namespace rubricate
