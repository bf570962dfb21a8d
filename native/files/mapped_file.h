// A whole file mapped read-only. Weights are used where they lie in it.
//
// A file may be cut off or its disk may fail while it is mapped; reading a lost page raises SIGBUS, which would end the
// process. A handler for the process, installed with the first mapping, puts zero pages in place of what was lost and
// marks the mapping; faults elsewhere go on to the handler that was there before. So a job that reads weights computes
// nonsense at worst, and the `check_unchanged()` at its end turns that into an error.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "files/file_stamp.h"

namespace rubricate {

class MappedFile {
 public:
  // Errors: ERR_FILE (missing, unreadable, no regular file, more than limits::kMappedFiles mapped at once).
  static std::shared_ptr<const MappedFile> open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& path() const { return path_; }
  int64_t size() const { return size_; }      // bytes
  const char* data() const { return data_; }  // null for an empty file
  std::string_view text() const { return {data_, static_cast<size_t>(size_)}; }

  // Throws ERR_FILE when the file was written to, cut off or could not be read since it was opened. Call it at the end
  // of each job that read the mapping. A file that another replaced by renaming is unchanged: the mapping holds the old
  // one.
  void check_unchanged() const;
  // Whether parts of the mapping were lost. They stay so, even where the file was restored.
  bool damaged() const;

  // Copies a part of the mapping by a read of the file, which brings none of its pages into the process's memory.
  // Touched in the mapping, a page brings what the system holds together with it: 64 KiB to 2 MiB were seen. Errors:
  // ERR_FILE (cannot be read, ends before `bytes`).
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
