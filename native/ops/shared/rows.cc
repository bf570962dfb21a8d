#include "ops/shared/rows.h"

#include "base/error.h"

namespace rubricate {

void check_starts(const int32_t* starts, int64_t sequences, int64_t rows, int32_t least, const char* name) {
  require(starts != nullptr && sequences >= least, "ERR_ARGUMENT", "Expected ", name, " of at least ", least,
          " sequences but received ", sequences);
  require(starts[0] == 0 && starts[sequences] == rows, "ERR_ARGUMENT", "Expected ", name,
          " from 0 to the number of rows (", rows, ") but received ", starts[0], " to ", starts[sequences]);
  for (int64_t s = 0; s < sequences; ++s)
    require(int64_t{starts[s]} + least <= starts[s + 1], "ERR_ARGUMENT", "Expected ascending ", name,
            " for sequences of at least ", least, " rows but received ", starts[s + 1], " after ", starts[s]);
}

void check_slot_count(int64_t slots, int64_t sequences) {
  require(slots == sequences, "ERR_ARGUMENT", "Expected one slot for each of ", sequences, " sequences but received ",
          slots);
}

void check_slots(const int32_t* slots, int64_t sequences, int64_t adapters) {
  for (int64_t s = 0; s < sequences; ++s)
    require(slots[s] >= 0 && slots[s] <= adapters, "ERR_ARGUMENT", "Expected slots from 0 to ", adapters,
            " but received ", slots[s], " for sequence ", s);
}

}  // namespace rubricate
