// The process's handler for reads of mapped pages that are no longer there (see mapped_file.h).
#pragma once

#include <cstddef>

namespace rubricate {

// Watches the mapping [begin, begin + bytes), whole pages. Returns its slot; -1 where all limits::kMappedFiles are
// taken.
int watch_mapping(void* begin, size_t bytes);
// Whether pages of it were lost.
bool mapping_damaged(int slot);
// Call before the mapping is unmapped.
void unwatch_mapping(int slot);

}  // namespace rubricate
