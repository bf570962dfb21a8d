#include "files/file_stamp.h"

#include <sys/stat.h>

namespace rubricate {
namespace {

FileStamp stamp_from(const struct stat& status) {
#if defined(__APPLE__)
  const timespec modified = status.st_mtimespec;
#else
  const timespec modified = status.st_mtim;
#endif
  return {static_cast<uint64_t>(status.st_dev), static_cast<uint64_t>(status.st_ino),
          static_cast<int64_t>(status.st_size), static_cast<int64_t>(modified.tv_sec),
          static_cast<int64_t>(modified.tv_nsec)};
}

}  // namespace

std::optional<FileStamp> stamp_of(int descriptor) {
  struct stat status = {};
  if (fstat(descriptor, &status) != 0) return std::nullopt;
  return stamp_from(status);
}

std::optional<FileStamp> stamp_of(const std::string& path) {
  struct stat status = {};
  if (stat(path.c_str(), &status) != 0) return std::nullopt;
  return stamp_from(status);
}

}  // namespace rubricate
