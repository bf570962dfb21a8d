// What tells one state of a file from another without reading it.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>

namespace rubricate {

// A file that was written to or replaced has another stamp; the same file under another name has the same. The time is
// that of the last modification.
struct FileStamp {
  uint64_t device = 0, inode = 0;
  int64_t size = 0, seconds = 0, nanoseconds = 0;  // size in bytes
  auto operator<=>(const FileStamp&) const = default;
};

// Nothing where the file is gone or cannot be looked at.
std::optional<FileStamp> stamp_of(int descriptor);
std::optional<FileStamp> stamp_of(const std::string& path);

}  // namespace rubricate
