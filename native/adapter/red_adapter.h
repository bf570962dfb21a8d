// A RED adapter: at each of its sites a scale and a bias, or one of the two, or both followed by a LayerNorm
// (arXiv 2402.15179v3; reference variants all, scaling, bias, ln). An adapter's own memory is the CPU's, whatever
// device its model is on; a batch has a copy on the device, which a training step updates there and brings home.
//
// Home after each step, not when somebody asks: 262,144 numbers of a 7B model's adapter are 1 MiB, and with gradients
// and both moments 4 MiB come home, 0.2 ms of a PCIe 4.0 bus after a step of a hundred or more. So what is read, saved
// or trained elsewhere between two steps is what there is, no device is asked on JavaScript's thread, and one that is
// lost takes nothing along.
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
    EditSlots::Vectors edit;  // undefined where the variant has none
    EditSlots::Vectors norm;  // weight in `scale`
  };

  // layers: ascending, each once, within the model. Vectors begin as the identity: scale 1, bias 0 (LayerNorm: weight
  // 1, bias 0, which is not the identity). Errors: ERR_ARGUMENT.
  RedAdapter(const Architecture& architecture, RedVariant variant, std::vector<Site> sites,
             std::vector<int64_t> layers);
  // A copy of its vectors in that arena's memory; gradients, of 0, where they are wanted.
  RedAdapter(const RedAdapter& other, const std::shared_ptr<Arena>& arena, bool gradients);

  std::vector<Parameter>& parameters() override { return parameters_; }
  Parameter whole() override { return {"", values_, gradients_, 0.0f, true, {}}; }
  const std::vector<SiteVectors>& sites() const { return sites_; }
  const SiteVectors* find(int64_t layer, Site site) const;
  bool same_layout(const RedAdapter& other) const;
  // All vectors end to end in the order of parameters(), and their gradients: fp32 [count()].
  const Tensor& values() const { return values_; }
  void changed() override { ++version_; }
  int64_t version() const { return version_; }  // another one means other values
  const Tensor& gradients() const { return gradients_; }

 private:
  // The next vector of values_, as a parameter.
  Var take(const std::string& name, int64_t width, float initial);

  RedVariant variant_;
  int64_t taken_ = 0;  // numbers of values_
  int64_t version_ = 0;
  std::vector<SiteVectors> sites_;
  std::vector<Parameter> parameters_;
  Tensor values_, gradients_;
};

}  // namespace rubricate
