// The safetensors format: 8 bytes of header length (little-endian), a JSON header, the tensors' bytes.
//
//   {"name": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]}, ..., "__metadata__": {"key": "text"}}
//
// The whole header is checked when a file is opened, and nothing in it is trusted. It is checked while it is parsed, so
// a malformed header takes no more memory than its bytes. Source: https://huggingface.co/docs/safetensors and the
// checks of its reference implementation.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "files/mapped_file.h"
#include "tensor/tensor.h"

namespace rubricate {

struct SafetensorsEntry {
  std::string dtype;   // as in the file: "F32", "BF16", "I64", ...
  Shape shape;         // [] for a scalar
  int64_t offset = 0;  // of the first byte, from the file's beginning; any alignment
  int64_t bytes = 0;
};

class SafetensorsFile : public std::enable_shared_from_this<SafetensorsFile> {
 public:
  // Errors: ERR_FILE if the file cannot be opened; ERR_SAFETENSORS, with the names of file and tensor, if it violates
  // the format (truncated, a header above 100 MB or beyond the end, not a JSON object, a duplicate key, an unknown
  // dtype, a size that is not a count or overflows, data_offsets that do not match dtype and shape, overlapping
  // tensors, bytes that belong to no tensor) or exceeds base/limits.h.
  static std::shared_ptr<const SafetensorsFile> open(const std::string& path);

  const std::shared_ptr<const MappedFile>& file() const { return file_; }
  const std::string& path() const { return file_->path(); }
  const std::map<std::string, SafetensorsEntry>& tensors() const { return tensors_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

  // The tensor in the mapping, without a copy; it keeps the mapping alive. Read-only, any alignment: make a Weight of
  // it, whose kernels accept that. Errors: ERR_TENSOR_MISSING; ERR_DTYPE if it is not F32, F16 or BF16.
  Tensor tensor(const std::string& name) const;

 private:
  SafetensorsFile() = default;
  void read_header();
  void read_entries(const std::string& header, int64_t data, int64_t data_bytes);

  std::shared_ptr<const MappedFile> file_;
  std::map<std::string, SafetensorsEntry> tensors_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace rubricate
