// A checkpoint's tensors by canonical name, where they lie in its safetensors files.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "architecture/architecture.h"
#include "files/safetensors.h"
#include "files/tensor_source.h"

namespace rubricate {

struct Checkpoint {
  std::vector<std::shared_ptr<const SafetensorsFile>> files;
  std::map<std::string, TensorSource> tensors;  // by canonical name

  // paths: the shards. names: the checkpoint's name for each canonical name. ignored: the checkpoint's names that may
  // be there and are not needed. Errors: ERR_FILE, ERR_SAFETENSORS; ERR_TENSOR_MISSING, ERR_TENSOR_UNEXPECTED, which
  // name the first five and say how many there are; ERR_SAFETENSORS for a tensor that two files hold; ERR_DTYPE for one
  // that is no F32, F16 or BF16.
  static Checkpoint open(const Architecture& architecture, const std::vector<std::string>& paths,
                         const std::map<std::string, std::string>& names, const std::vector<std::string>& ignored);

  int64_t bytes() const;
  // Throws ERR_FILE where a file changed since it was opened.
  void check_unchanged() const;
};

}  // namespace rubricate
