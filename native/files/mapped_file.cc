#include "files/mapped_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <system_error>

#include "base/error.h"
#include "base/integers.h"
#include "base/limits.h"
#include "files/lost_pages.h"

namespace rubricate {
namespace {

std::string reason() { return std::generic_category().message(errno); }

const char* kind_of(mode_t mode) {
  if (S_ISDIR(mode)) return "a folder";
  if (S_ISFIFO(mode)) return "a pipe (FIFO): save its contents as a file";
  if (S_ISSOCK(mode)) return "a socket";
  if (S_ISCHR(mode) || S_ISBLK(mode)) return "a device";
  return "something else";
}

void require_regular(const std::string& path, mode_t mode) {
  require(S_ISREG(mode), "ERR_FILE", "Expected a regular file at ", path, " but it is ", kind_of(mode));
}

}  // namespace

std::shared_ptr<const MappedFile> MappedFile::open(const std::string& path) {
  std::shared_ptr<MappedFile> file(new MappedFile);
  file->path_ = path;
  require(path.find('\0') == std::string::npos, "ERR_FILE", "Expected a path without null characters");
  file->descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // must not block on a pipe
  struct stat status = {};
  if (file->descriptor_ < 0 && errno == ENXIO && stat(path.c_str(), &status) == 0)
    require_regular(path, status.st_mode);  // a socket cannot be opened
  require(file->descriptor_ >= 0, "ERR_FILE", "Could not open ", path, ": ", reason());
  require(fstat(file->descriptor_, &status) == 0, "ERR_FILE", "Could not read ", path, ": ", reason());
  require_regular(path, status.st_mode);
  const std::optional<FileStamp> stamp = stamp_of(file->descriptor_);
  require(stamp.has_value(), "ERR_FILE", "Could not read ", path, ": ", reason());
  file->stamp_ = *stamp;
  file->size_ = stamp->size;
  if (file->size_ == 0) return file;

  const int64_t page = sysconf(_SC_PAGESIZE);
  file->mapped_bytes_ = round_up(file->size_, page);
  void* const address = mmap(nullptr, static_cast<size_t>(file->size_), PROT_READ, MAP_PRIVATE, file->descriptor_, 0);
  require(address != MAP_FAILED, "ERR_FILE", "Could not map ", path, ": ", reason());
  file->data_ = static_cast<char*>(address);
  file->slot_ = watch_mapping(address, static_cast<size_t>(file->mapped_bytes_));
  require(file->slot_ >= 0, "ERR_FILE", "Expected at most ", limits::kMappedFiles, " mapped files at once, so ", path,
          " could not be mapped");
  return file;
}

MappedFile::~MappedFile() {
  if (slot_ >= 0) unwatch_mapping(slot_);
  if (data_ != nullptr) munmap(data_, static_cast<size_t>(mapped_bytes_));
  if (descriptor_ >= 0) ::close(descriptor_);
}

bool MappedFile::damaged() const { return slot_ >= 0 && mapping_damaged(slot_); }

void MappedFile::check_unchanged() const {
  require(!damaged(), "ERR_FILE", "Expected ", path_, " to stay readable but parts of it were lost while in use");
  require(stamp_of(descriptor_) == stamp_, "ERR_FILE", "Expected ", path_,
          " to stay unchanged but it changed while in use");
}

void MappedFile::read(const void* begin, int64_t bytes, void* to) const {
  int64_t offset = static_cast<const char*>(begin) - data_;
  for (char* at = static_cast<char*>(to); bytes > 0;) {
    const ssize_t got = pread(descriptor_, at, static_cast<size_t>(bytes), offset);
    if (got < 0 && errno == EINTR) continue;
    require(got >= 0, "ERR_FILE", "Could not read ", path_, ": ", reason());
    require(got > 0, "ERR_FILE", "Expected ", path_, " to stay unchanged but it ends at ", offset, " bytes");
    at += got, offset += got, bytes -= got;
  }
}

}  // namespace rubricate
