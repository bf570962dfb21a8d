// Device copies of host arrays that the ops of one forward share: positions, starts, slots, and the tiles computed from
// them. The first op that needs a table makes it; the other ops, recomputed blocks and the backward reuse it. It lives
// as long as the tape's records and the forward.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "autograd/tape.h"

namespace rubricate {

class DeviceCopies {
 public:
  enum class Table : int32_t { positions, starts, past, slot_tiles, query_tiles, key_tiles, pages };
  struct Copy {
    Tensor memory;
    int64_t count = 0;  // elements
  };

  // parameter: anything else that a table depends on, for example the rows of a tile. host(): its elements, a
  // std::vector.
  template <typename Host>
  Copy find_or_upload(Tape& tape, Table table, int64_t parameter, const Host& host) {
    for (const Entry& entry : entries_)
      if (entry.table == table && entry.parameter == parameter) return entry.copy;
    entries_.push_back({table, parameter, upload(tape, host())});
    return entries_.back().copy;
  }

  template <typename T>
  static Copy upload(Tape& tape, const std::vector<T>& elements) {
    const auto count = static_cast<int64_t>(elements.size());
    return {tape.upload(elements.data(), count * static_cast<int64_t>(sizeof(T))), count};
  }

 private:
  struct Entry {
    Table table;
    int64_t parameter;
    Copy copy;
  };
  std::vector<Entry> entries_;
};

// The table of `copies`, or, if that is null, one of the caller's own.
template <typename Host>
DeviceCopies::Copy device_copy(Tape& tape, const std::shared_ptr<DeviceCopies>& copies, DeviceCopies::Table table,
                               int64_t parameter, const Host& host) {
  return copies ? copies->find_or_upload(tape, table, parameter, host) : DeviceCopies::upload(tape, host());
}

}  // namespace rubricate
