// The safetensors format: 8 bytes of header length (little-endian), a JSON header, the tensors' bytes.
//
//   {"name": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]}, ..., "__metadata__": {"key": "text"}}
//
// Everything that the format demands is checked when a file is opened; what a header says is never trusted. It is
// checked as it is read, so that one of another shape costs no more memory than its bytes. Source:
// https://huggingface.co/docs/safetensors and the checks of its reference implementation.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "files/mapped_file.h"
#include "tensor/tensor.h"

namespace rubricate {

struct SafetensorsEntry {
  std::string dtype;   // as the format writes it: "F32", "BF16", "I64", ...
  Shape shape;         // [] for a scalar
  int64_t offset = 0;  // of the first byte, from the file's beginning; any alignment
  int64_t bytes = 0;
};

class SafetensorsFile : public std::enable_shared_from_this<SafetensorsFile> {
 public:
  // Errors: ERR_FILE where the file cannot be opened; ERR_SAFETENSORS, naming the file and the tensor, where it breaks
  // the format: truncated, a header above 100 MB or beyond the end, no JSON object, a key twice, an unknown dtype, a
  // size that is no count or overflows, bytes that do not fit dtype and shape, overlap, or bytes that belong to no
  // tensor; or where it exceeds base/limits.h.
  static std::shared_ptr<const SafetensorsFile> open(const std::string& path);

  const std::shared_ptr<const MappedFile>& file() const { return file_; }
  const std::string& path() const { return file_->path(); }
  const std::map<std::string, SafetensorsEntry>& tensors() const { return tensors_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

  // The tensor where it lies in the mapping, which it keeps alive: read-only, any alignment (make a Weight of it, whose
  // kernels allow that). Errors: ERR_TENSOR_MISSING, ERR_DTYPE where it is not F32, F16 or BF16.
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
