// A checkpoint's tensors by canonical name, as views of its safetensors files.
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

  // paths: the shards. names: maps each canonical name to the checkpoint's. ignored: names that the checkpoint may
  // contain but the model does not use.
  // Errors: ERR_FILE, ERR_SAFETENSORS (also for a tensor that two files hold); ERR_TENSOR_MISSING and
  // ERR_TENSOR_UNEXPECTED, which name the first five and give the number; ERR_DTYPE for a dtype other than F32, F16 or
  // BF16.
  static Checkpoint open(const Architecture& architecture, const std::vector<std::string>& paths,
                         const std::map<std::string, std::string>& names, const std::vector<std::string>& ignored);

  int64_t bytes() const;
  // Throws ERR_FILE if a file has changed since it was opened.
  void check_unchanged() const;
};

}  // namespace rubricate
