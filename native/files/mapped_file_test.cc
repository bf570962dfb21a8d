#include "files/mapped_file.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/limits.h"
#include "doctest/doctest.h"
#include "files/lost_pages.h"
#include "tests/temporary_folder.h"

using rubricate::Error;
using rubricate::MappedFile;
using rubricate::testing::TemporaryFolder;

namespace {

std::string code_of_check(const MappedFile& file) {
  try {
    file.check_unchanged();
  } catch (const Error& error) {
    CHECK(std::string(error.what()).find(file.path()) != std::string::npos);
    return error.code();
  }
  return "";
}

// ThreadSanitizer reports the mmap that replaces a lost page, in one thread's signal handler, as a write that races
// with the other threads' reads; in fact they all wait for that page.
__attribute__((no_sanitize("thread"))) int64_t sum(const MappedFile& file) {
  int64_t total = 0;
  for (int64_t i = 0; i < file.size(); ++i) total += file.data()[i];
  return total;
}

}  // namespace

TEST_CASE("a file of any size is mapped whole") {
  const TemporaryFolder folder;
  for (const size_t size : {size_t{0}, size_t{1}, size_t{4095}, size_t{4096}, size_t{10000}}) {
    const std::string path = folder.write("file", std::string(size, '\1'));
    const auto file = MappedFile::open(path);
    CHECK(file->size() == static_cast<int64_t>(size));
    CHECK(file->text() == std::string(size, '\1'));
    CHECK(sum(*file) == static_cast<int64_t>(size));
    CHECK(code_of_check(*file) == "");
  }
}

TEST_CASE("a part of the mapping is read from the file; if the file is too short, the error says so") {
  const TemporaryFolder folder;
  const std::string path = folder.write("file", std::string(10000, '\1') + "abc");
  const auto file = MappedFile::open(path);
  std::string part(3, ' ');
  file->read(file->data() + 10000, 3, part.data());
  CHECK(part == "abc");
  file->read(file->data(), 0, part.data());
  CHECK(part == "abc");
  REQUIRE(truncate(path.c_str(), 10001) == 0);
  try {
    file->read(file->data() + 10000, 3, part.data());
    CHECK(false);
  } catch (const Error& error) {
    CHECK(std::string(error.code()) == "ERR_FILE");
    CHECK(std::string(error.what()) == "Expected " + path + " to stay unchanged but it ends at 10001 bytes");
  }
}

TEST_CASE("a path that cannot be mapped is an error that names it") {
  const TemporaryFolder folder;
  const std::string pipe = folder.path("pipe");
  REQUIRE(mkfifo(pipe.c_str(), 0600) == 0);
  for (const std::string& path : {folder.path("none"), folder.path(""), pipe, std::string("a\0b", 3)}) {
    CAPTURE(path);
    CHECK_THROWS_AS(MappedFile::open(path), Error);
    try {
      MappedFile::open(path);
    } catch (const Error& error) {
      CHECK(std::string(error.code()) == "ERR_FILE");
      if (path.find('\0') == std::string::npos) CHECK(std::string(error.what()).find(path) != std::string::npos);
    }
  }
}

TEST_CASE("truncating a mapped file is an error, on any thread and repeatedly") {
  const TemporaryFolder folder;
  for (int round = 0; round < 3; ++round) {
    const std::string path = folder.write("cut", std::string(1 << 20, '\1'));
    const std::string other = folder.write("whole", std::string(1 << 16, '\1'));
    const auto file = MappedFile::open(path);
    const auto whole = MappedFile::open(other);
    REQUIRE(truncate(path.c_str(), 8192 + 10) == 0);
    std::vector<int64_t> sums(4);
    std::vector<std::thread> threads;
    for (size_t i = 0; i < sums.size(); ++i) threads.emplace_back([&, i] { sums[i] = sum(*file); });
    for (auto& thread : threads) thread.join();
    for (const int64_t total : sums) CHECK(total == 8192 + 10);  // zeros in place of the lost bytes
    CHECK(code_of_check(*file) == "ERR_FILE");
    CHECK(sum(*whole) == 1 << 16);
    CHECK(code_of_check(*whole) == "");
  }
}

TEST_CASE("lost pages are remembered when the file is restored") {
  const TemporaryFolder folder;
  const std::string path = folder.write("cut", std::string(1 << 16, '\1'));
  const auto file = MappedFile::open(path);
  struct stat before = {};
  REQUIRE(stat(path.c_str(), &before) == 0);
  REQUIRE(truncate(path.c_str(), 0) == 0);
  CHECK(sum(*file) == 0);
  folder.write_in_place("cut", std::string(1 << 16, '\1'));
  const timespec times[] = {before.st_atim, before.st_mtim};
  REQUIRE(utimensat(AT_FDCWD, path.c_str(), times, 0) == 0);
  CHECK(code_of_check(*file) == "ERR_FILE");
}

TEST_CASE("writing to a mapped file is detected; replacing it by a rename does not affect the mapping") {
  const TemporaryFolder folder;
  const std::string path = folder.write("file", "abcdefgh");
  {
    const auto file = MappedFile::open(path);
    const timespec times[] = {{1, 0}, {1, 1}};  // as after a later write; clocks are coarse
    folder.write_in_place("file", "abcdXfgh");
    REQUIRE(utimensat(AT_FDCWD, path.c_str(), times, 0) == 0);
    CHECK(code_of_check(*file) == "ERR_FILE");
  }
  const auto file = MappedFile::open(path);
  REQUIRE(std::rename(folder.write("new", "12345678").c_str(), path.c_str()) == 0);
  CHECK(file->text() == "abcdXfgh");
  CHECK(code_of_check(*file) == "");
}

TEST_CASE("files can be mapped up to the limit, and no more") {
  const TemporaryFolder folder;
  const std::string path = folder.write("file", "abcdefgh");
  char page = 0;
  std::vector<int> slots;
  for (int slot; (slot = rubricate::watch_mapping(&page, 1)) >= 0;) slots.push_back(slot);
  CHECK(slots.size() == rubricate::limits::kMappedFiles);
  CHECK_THROWS_AS(MappedFile::open(path), Error);
  rubricate::unwatch_mapping(slots.back());
  slots.pop_back();
  CHECK(MappedFile::open(path)->text() == "abcdefgh");
  for (const int slot : slots) rubricate::unwatch_mapping(slot);
}

TEST_CASE("a bus error elsewhere still ends the process") {
  const TemporaryFolder folder;
  const auto watched = MappedFile::open(folder.write("watched", "x"));
  const std::string path = folder.write("foreign", std::string(8192, '\1'));
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    std::FILE* file = std::fopen(path.c_str(), "r");
    const auto* data = static_cast<volatile char*>(mmap(nullptr, 8192, PROT_READ, MAP_PRIVATE, fileno(file), 0));
    if (truncate(path.c_str(), 0) != 0) _exit(100);
    _exit(data[5000] == 0 ? 101 : 102);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  CHECK_FALSE((WIFEXITED(status) && WEXITSTATUS(status) >= 100));  // the sanitizer's own handler was there before
#else
  CHECK(WIFSIGNALED(status));
  CHECK(WTERMSIG(status) == SIGBUS);
#endif
}
