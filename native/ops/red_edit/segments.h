// Rows by sequence, for kernels that take one slot's vectors at a time, and a copy of the rows for backward.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "ops/rows.h"

namespace rubricate {

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

// The caller's arrays need not outlive the forward.
class SavedRows {
 public:
  explicit SavedRows(const SequenceRows& rows)
      : rows_(rows.rows),
        starts_(rows.starts, rows.starts + rows.sequences + 1),
        slots_(rows.slots, rows.slots + rows.sequences),
        copies_(rows.copies) {}
  SequenceRows view() const {
    return {rows_, static_cast<int64_t>(slots_.size()), starts_.data(), slots_.data(), copies_};
  }

 private:
  int64_t rows_;
  std::vector<int32_t> starts_, slots_;
  std::shared_ptr<DeviceCopies> copies_;
};

}  // namespace rubricate
