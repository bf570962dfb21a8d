// How flat rows are grouped into sequences, and the adapter slot of each sequence. Rows of a sequence are contiguous.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

namespace rubricate {

class DeviceCopies;

struct SequenceRows {
  int64_t rows = 0;                 // all rows, T
  int64_t sequences = 0;            // S
  const int32_t* starts = nullptr;  // [S + 1]: first row of each sequence, then T; ascending
  const int32_t* slots = nullptr;   // [S]: adapter slot of each sequence; 0: no edit
  // Device copies that the ops of one forward share (device_copies.h); null: each op makes its own.
  std::shared_ptr<DeviceCopies> copies = nullptr;
};

// The rules of starts and slots, for batches and ops. Errors: ERR_ARGUMENT.
//   starts [sequences + 1]: from 0 to `rows`, each at least `least` rows after the one before: 0 if sequences may be
//   empty; otherwise 1, and then there must be at least one sequence. name: used in messages.
void check_starts(const int32_t* starts, int64_t sequences, int64_t rows, int32_t least, const char* name = "starts");
// The number of slots must equal the number of sequences.
void check_slot_count(int64_t slots, int64_t sequences);
//   slots [sequences]: from 0 to `adapters`.
void check_slots(const int32_t* slots, int64_t sequences, int64_t adapters);

// Calls body(begin, end, slot) for the runs of rows of one sequence within [begin, end).
template <typename Body>
void for_each_segment(const SequenceRows& rows, int64_t begin, int64_t end, Body&& body) {
  const int32_t* last = rows.starts + rows.sequences + 1;
  int64_t s = std::upper_bound(rows.starts, last, begin) - rows.starts - 1;  // the last that starts before or at it
  for (; begin < end; ++s) {
    const int64_t stop = std::min<int64_t>(end, rows.starts[s + 1]);
    if (stop > begin) body(begin, stop, rows.slots[s]);
    begin = std::max(begin, stop);
  }
}

// A copy of the rows for the backward: the caller's arrays need not outlive the forward.
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
