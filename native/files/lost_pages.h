// The process's SIGBUS handler, for reads of mapped pages that no longer exist (see mapped_file.h).
#pragma once

#include <cstddef>

namespace rubricate {

// Watches the mapping [begin, begin + bytes), whole pages. Returns its slot, or -1 if all limits::kMappedFiles slots
// are in use.
int watch_mapping(void* begin, size_t bytes);
// Whether pages of the slot's mapping were lost.
bool mapping_damaged(int slot);
// Call before unmapping.
void unwatch_mapping(int slot);

}  // namespace rubricate
