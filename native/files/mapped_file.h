// A whole file mapped read-only. Weights are used in place.
//
// A file may be truncated or its disk may fail while it is mapped; reading a lost page raises SIGBUS, which would end
// the process. A process-wide handler, installed with the first mapping, replaces lost pages with zero pages and marks
// the mapping; other faults go to the previous handler. So a job that reads weights computes nonsense at worst, and
// `check_unchanged()` at its end turns that into an error.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "files/file_stamp.h"

namespace rubricate {

class MappedFile {
 public:
  // Errors: ERR_FILE (missing, unreadable, not a regular file, more than limits::kMappedFiles mapped at once).
  static std::shared_ptr<const MappedFile> open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& path() const { return path_; }
  int64_t size() const { return size_; }      // bytes
  const char* data() const { return data_; }  // null for an empty file
  std::string_view text() const { return {data_, static_cast<size_t>(size_)}; }

  // Throws ERR_FILE if the file was written to, truncated or unreadable since it was opened. Call it at the end of each
  // job that read the mapping. Replacing the file by a rename is no change: the mapping keeps the old file.
  void check_unchanged() const;
  // Whether parts of the mapping were lost. They stay lost even if the file is restored.
  bool damaged() const;

  // Copies a part of the file with read(), which maps none of its pages into the process. Touching a mapped page also
  // maps the pages around it: 64 KiB to 2 MiB were measured. Errors: ERR_FILE (cannot be read, ends before `bytes`).
  void read(const void* begin, int64_t bytes, void* to) const;

 private:
  MappedFile() = default;

  std::string path_;
  char* data_ = nullptr;
  int64_t size_ = 0, mapped_bytes_ = 0;  // the latter in whole pages
  int descriptor_ = -1, slot_ = -1;
  FileStamp stamp_;
};

}  // namespace rubricate
