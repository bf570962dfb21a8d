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

// Where a canonical tensor is stored.
struct StoredTensor {
  std::string name;  // the checkpoint's
  // A tensor of `total` outputs (rows of a matrix, elements of a vector) of which this one has those from `begin` on. 0:
  // this one alone.
  int64_t begin = 0, total = 0;
  bool transposed = false;  // a matrix is stored as [inputs, outputs]
};

struct Checkpoint {
  std::vector<std::shared_ptr<const SafetensorsFile>> files;
  std::map<std::string, TensorSource> tensors;  // by canonical name

  // paths: the shards. stored: by canonical name, where a tensor is not stored whole under that name. ignored: names
  // that the checkpoint may contain but the model does not use.
  // Errors: ERR_FILE, ERR_SAFETENSORS (also for a tensor that two files hold); ERR_TENSOR_MISSING and
  // ERR_TENSOR_UNEXPECTED, which name the first five and give the number; ERR_SHAPE for a stored tensor that has
  // not the size of its parts, or whose transpose is stored; ERR_DTYPE for a dtype other than F32, F16 or BF16.
  static Checkpoint open(const Architecture& architecture, const std::vector<std::string>& paths,
                         const std::map<std::string, StoredTensor>& stored, const std::vector<std::string>& ignored);

  int64_t bytes() const;
  // Throws ERR_FILE if a file has changed since it was opened.
  void check_unchanged() const;
};

}  // namespace rubricate
