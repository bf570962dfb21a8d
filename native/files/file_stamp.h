// Detects changes of a file without reading it.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>

namespace rubricate {

// A file's stamp changes when it is written to or replaced, and does not depend on the path. The time is that of the
// last modification.
struct FileStamp {
  uint64_t device = 0, inode = 0;
  int64_t size = 0, seconds = 0, nanoseconds = 0;  // size in bytes
  auto operator<=>(const FileStamp&) const = default;
};

// Empty if the file does not exist or cannot be accessed.
std::optional<FileStamp> stamp_of(int descriptor);
std::optional<FileStamp> stamp_of(const std::string& path);

}  // namespace rubricate
