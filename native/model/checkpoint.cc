#include "model/checkpoint.h"

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

}  // namespace

Checkpoint Checkpoint::open(const Architecture& architecture, const std::vector<std::string>& paths,
                            const std::map<std::string, std::string>& names, const std::vector<std::string>& ignored) {
  Checkpoint checkpoint;
  for (const std::string& path : paths) checkpoint.files.push_back(open_shared_safetensors(path));
  const Places places = locate(checkpoint.files);

  std::set<std::string> known(ignored.begin(), ignored.end());
  std::vector<std::string> missing, unexpected;
  for (const TensorSpec& spec : tensor_specs(architecture)) {
    const auto stored = names.find(spec.name);
    const std::string& name = stored == names.end() ? spec.name : stored->second;
    known.insert(name);
    const auto place = places.find(name);
    if (place == places.end()) {
      missing.push_back(name);
      continue;
    }
    const Tensor tensor = place->second->tensor(name);
    checkpoint.tensors[spec.name] = {tensor.dtype(), tensor.shape(), tensor.raw(), std::make_shared<Tensor>(tensor),
                                     place->second->file()};
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
