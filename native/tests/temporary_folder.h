// A folder for a test's files, removed with its contents at the end of a scope.
#pragma once

#include <fcntl.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "doctest/doctest.h"

namespace rubricate::testing {

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "rubricate-XXXXXX").string();
    REQUIRE(mkdtemp(name.data()) != nullptr);
    folder_ = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  std::string path(const std::string& name) const { return (folder_ / name).string(); }

  // Writes a new file of that name and returns its path.
  std::string write(const std::string& name, const std::string& bytes) const {
    std::filesystem::remove(folder_ / name);
    return write_in_place(name, bytes);
  }
  // Writes to a file, which may exist, keeping its inode.
  std::string write_in_place(const std::string& name, const std::string& bytes) const {
    std::ofstream out(path(name), std::ios::binary | std::ios::trunc);
    out << bytes;
    out.close();
    REQUIRE(out.good());
    return path(name);
  }

 private:
  std::filesystem::path folder_;
};

}  // namespace rubricate::testing
