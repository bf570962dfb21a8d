// Mappings shared by all who load the same file.
#pragma once

#include <memory>
#include <string>

#include "files/safetensors.h"

namespace rubricate {

// SafetensorsFile::open, or the file that is open already where `path` leads to the same one (device, inode, size and
// time of modification), whatever the name. Thread-safe.
std::shared_ptr<const SafetensorsFile> open_shared_safetensors(const std::string& path);

}  // namespace rubricate
