// Loads a model's weights from a checkpoint, by canonical name.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "architecture/architecture.h"
#include "architecture/site.h"
#include "files/tensor_source.h"
#include "model/edited_linear.h"

namespace rubricate {

class WeightLoader {
 public:
  // compute: dtype of the model's activations.
  // arena: holds the copies; on a device all weights are copied.
  // taken: called with the number of further bytes of the checkpoint that were loaded; what it throws ends the loading.
  // All arguments must outlive the loader.
  using Taken = std::function<void(int64_t bytes)>;
  WeightLoader(const Architecture& architecture, const std::map<std::string, TensorSource>& tensors, DType compute,
               const std::shared_ptr<Arena>& arena, const Taken& taken);

  // Errors: ERR_TENSOR_MISSING, ERR_SHAPE, ERR_DTYPE, ERR_OUT_OF_MEMORY, ERR_DEVICE_LOST.
  Weight matrix(const std::string& name) const;
  Var vector(const std::string& name) const;  // fp32; undefined if this architecture has none
  LinearLayer linear(int64_t layer, Site site) const;

 private:
  Tensor copied(const TensorSource& source, DType dtype) const;
  const TensorSource& find(const std::string& name, const Shape& shape) const;

  const std::map<std::string, TensorSource>& tensors_;
  const DType compute_;
  const std::shared_ptr<Arena>& arena_;
  const Taken& taken_;
  std::map<std::string, Shape> shapes_;  // of all tensors of the architecture
};

}  // namespace rubricate
