// Any bytes as a safetensors file. If the first byte is odd, it is skipped, and the text up to the next 0xff becomes
// the header, with its length corrected.
#include "files/safetensors.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <string>

#include "checks.h"

using namespace rubricate;

namespace {

std::string file_of(const uint8_t* data, size_t size) {
  const std::string all(reinterpret_cast<const char*>(data), size);
  if (size < 2 || data[0] % 2 == 0) return all;
  const size_t end = std::min(all.find('\xff', 1), size);
  const uint64_t length = end - 1;
  std::string file(reinterpret_cast<const char*>(&length), 8);
  file.append(all, 1, end - 1);
  if (end < size) file.append(all, end + 1);
  return file;
}

volatile uint32_t read_bytes;  // so that the compiler keeps the reads

void require_consistent(const SafetensorsFile& file) {
  int64_t covered = 0;
  uint32_t sum = 0;
  for (const auto& [name, entry] : file.tensors()) {
    if (entry.offset < 8 || entry.bytes < 0 || entry.offset + entry.bytes > file.file()->size())
      fuzz::found("a tensor outside its file:", name.c_str());
    for (int64_t i = 0; i < entry.bytes; ++i) sum += static_cast<unsigned char>(file.file()->data()[entry.offset + i]);
    covered += entry.bytes;
    try {
      if (file.tensor(name).bytes() != entry.bytes) fuzz::found("a tensor of other bytes:", name.c_str());
    } catch (const Error& error) {
      if (std::strcmp(error.code(), "ERR_DTYPE") != 0) fuzz::found(error.code(), error.what());
    }
  }
  read_bytes = sum;
  if (covered > file.file()->size()) fuzz::found("more bytes than the file has");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const int descriptor = memfd_create("fuzz", 0);
  static const std::string path = "/proc/self/fd/" + std::to_string(descriptor);
  const std::string bytes = file_of(data, size);
  if (ftruncate(descriptor, 0) != 0) fuzz::found("no file");
  if (pwrite(descriptor, bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) fuzz::found("no file");
  fuzz::check(bytes.size(), 512 << 10, {"ERR_SAFETENSORS"}, [] { require_consistent(*SafetensorsFile::open(path)); });
  return 0;
}
