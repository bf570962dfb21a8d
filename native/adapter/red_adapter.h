// A RED adapter: at each of its sites a scale and a bias, only one of them, or both followed by a LayerNorm
// (arXiv 2402.15179v3; reference variants all, scaling, bias, ln). An adapter's own memory is always CPU memory. A
// batch on a device has a device copy, which a training step updates and downloads.
//
// The download happens after each step, not on demand: the 262,144 values of a 7B model's adapter are 1 MiB, 4 MiB with
// gradients and both moments, which takes 0.2 ms over PCIe 4.0 after a step of 100 ms or more. So the CPU values are
// always current between steps, JavaScript's thread never waits for a device, and a lost device loses no values.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "architecture/architecture.h"
#include "architecture/site.h"
#include "base/named.h"
#include "ops/red_edit/red_edit.h"
#include "optimizer/parameter.h"

namespace rubricate {

enum class RedVariant : int32_t { all = 0, scale, bias, ln };
inline constexpr std::array<Named<RedVariant>, 4> kRedVariantNames{
    {{RedVariant::all, "all"}, {RedVariant::scale, "scale"}, {RedVariant::bias, "bias"}, {RedVariant::ln, "ln"}}};

constexpr float kRedLayerNormEps = 1e-5f;  // torch.nn.LayerNorm's default, as in the reference implementation

class RedAdapter : public ParameterSet {
 public:
  struct SiteVectors {
    int64_t layer = 0;
    Site site = Site::down_proj;
    SlotVectors::Vectors edit;  // undefined if the variant has none
    SlotVectors::Vectors norm;  // weight in `scale`
  };

  // layers: ascending, each once, within the model. The edit starts as the identity: scale 1, bias 0. (The LayerNorm
  // starts with weight 1 and bias 0, which is not the identity.) Errors: ERR_ARGUMENT.
  RedAdapter(const Architecture& architecture, RedVariant variant, std::vector<Site> sites,
             std::vector<int64_t> layers);
  // A copy of the vectors in that arena's memory, with gradients of 0 if requested.
  RedAdapter(const RedAdapter& other, const std::shared_ptr<Arena>& arena, bool gradients);

  std::vector<Parameter>& parameters() override { return parameters_; }
  Parameter whole() override { return {"", values_, gradients_, 0.0f, true, {}}; }
  const std::vector<SiteVectors>& sites() const { return sites_; }
  const SiteVectors* find(int64_t layer, Site site) const;
  bool same_layout(const RedAdapter& other) const;
  // All vectors, concatenated in the order of parameters(), and their gradients: fp32 [count()].
  const Tensor& values() const { return values_; }
  void changed() override { ++version_; }
  int64_t version() const { return version_; }  // changes whenever the values do
  const Tensor& gradients() const { return gradients_; }

 private:
  // Makes the next vector of values_ a parameter.
  Var take(const std::string& name, int64_t width, float initial);

  RedVariant variant_;
  int64_t taken_ = 0;  // elements of values_ that are assigned to parameters
  int64_t version_ = 0;
  std::vector<SiteVectors> sites_;
  std::vector<Parameter> parameters_;
  Tensor values_, gradients_;
};

}  // namespace rubricate
