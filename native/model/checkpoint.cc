#include "model/checkpoint.h"

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/json.h"
#include "files/shared_safetensors.h"

namespace rubricate {
namespace {

constexpr size_t kNamed = 5;  // number of names that a message lists

std::string listed(const std::vector<std::string>& names) {
  std::string text;
  for (size_t i = 0; i < names.size() && i < kNamed; ++i) text += (i == 0 ? "" : ", ") + json_quote(names[i]);
  if (names.size() > kNamed) text += concat(" and ", names.size() - kNamed, " more");
  return text;
}

using Places = std::map<std::string, const SafetensorsFile*>;

Places locate(const std::vector<std::shared_ptr<const SafetensorsFile>>& files) {
  Places places;
  std::vector<std::string> twice;
  for (const auto& file : files)
    for (const auto& [name, entry] : file->tensors())
      if (!places.emplace(name, file.get()).second) twice.push_back(name);
  require(twice.empty(), "ERR_SAFETENSORS", "Expected each tensor in one file but ", twice.size(),
          " are in more than one: ", listed(twice));
  return places;
}

// The tensor in its file. One that is stored whole has the file's shape; whoever loads it compares that.
TensorSource located(const SafetensorsFile& file, const StoredTensor& at, const TensorSpec& spec) {
  const Tensor tensor = file.tensor(at.name);
  TensorSource source{tensor.dtype(), tensor.shape(), tensor.raw(), std::make_shared<Tensor>(tensor), file.file()};
  const int64_t outputs = spec.shape[0], total = at.total == 0 ? outputs : at.total;
  if (!at.transposed && total == outputs) return source;
  require(at.begin >= 0 && at.begin + outputs <= total, "ERR_INTERNAL", "A part beyond its tensor");
  Shape whole = spec.shape;
  whole[0] = total;
  if (at.transposed) std::reverse(whole.begin(), whole.end());
  require(tensor.shape() == whole, "ERR_SHAPE", "Expected shape ", shape_text(whole), " for ", at.name,
          " but the checkpoint has ", shape_text(tensor.shape()));
  const int64_t skipped = at.transposed ? at.begin : at.begin * element_count(spec.shape) / outputs;
  source.data = static_cast<const char*>(source.data) + skipped * dtype_size(source.dtype);
  source.shape = spec.shape;
  if (at.transposed) source.column_stride = total;
  return source;
}

}  // namespace

Checkpoint Checkpoint::open(const Architecture& architecture, const std::vector<std::string>& paths,
                            const std::map<std::string, StoredTensor>& stored,
                            const std::vector<std::string>& ignored) {
  Checkpoint checkpoint;
  for (const std::string& path : paths) checkpoint.files.push_back(open_shared_safetensors(path));
  const Places places = locate(checkpoint.files);

  std::set<std::string> known(ignored.begin(), ignored.end());
  std::vector<std::string> missing, unexpected;
  for (const TensorSpec& spec : tensor_specs(architecture)) {
    const auto found = stored.find(spec.name);
    const StoredTensor at = found == stored.end() ? StoredTensor{spec.name} : found->second;
    const auto place = places.find(at.name);
    if (place == places.end()) {
      if (known.insert(at.name).second) missing.push_back(at.name);
      continue;
    }
    known.insert(at.name);
    checkpoint.tensors[spec.name] = located(*place->second, at, spec);
  }
  require(missing.empty(), "ERR_TENSOR_MISSING", "The checkpoint lacks ", missing.size(),
          " tensors that the model needs: ", listed(missing));
  for (const auto& [name, file] : places)
    if (known.count(name) == 0) unexpected.push_back(name);
  require(unexpected.empty(), "ERR_TENSOR_UNEXPECTED", "The checkpoint holds ", unexpected.size(),
          " tensors that the model does not know: ", listed(unexpected));
  return checkpoint;
}

int64_t Checkpoint::bytes() const {
  int64_t total = 0;
  for (const auto& [name, source] : tensors) total += element_count(source.shape) * dtype_size(source.dtype);
  return total;
}

void Checkpoint::check_unchanged() const {
  for (const auto& file : files) file->file()->check_unchanged();
}

}  // namespace rubricate
