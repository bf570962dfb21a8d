// One mapping per file, shared by all its users.
#pragma once

#include <memory>
#include <string>

#include "files/safetensors.h"

namespace rubricate {

// Returns the open file if `path` leads to the same one (device, inode, size and modification time; the name does not
// matter), else SafetensorsFile::open. Thread-safe.
std::shared_ptr<const SafetensorsFile> open_shared_safetensors(const std::string& path);

}  // namespace rubricate
