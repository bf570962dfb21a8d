#include "adapter/plan.h"

#include <algorithm>
#include <cmath>
#include <mutex>
#include <set>
#include <utility>

#include "base/json.h"
#include "base/limits.h"
#include "base/mutex.h"

namespace rubricate {
namespace {

AdapterPlan::Parameter parse_parameter(const JsonAt& at) {
  at.expect_only({"name", "shape", "start", "decays"});
  AdapterPlan::Parameter parameter;
  parameter.name = at["name"].string();
  const JsonAt shape = at["shape"];
  if (shape.size() < 1 || shape.size() > 2) shape.reject("one or two sizes");
  for (int64_t axis = 0; axis < shape.size(); ++axis)
    parameter.shape.push_back(shape.at(axis).integer(1, limits::kMaxIntermediate));
  parameter.start = static_cast<float>(at["start"].number());
  if (!std::isfinite(parameter.start)) at["start"].reject("a finite float32 number");
  if (at.has("decays")) parameter.decays = at["decays"].boolean();
  return parameter;
}

// Reads indices of parameters, each of which may occur once.
class Indices {
 public:
  explicit Indices(size_t parameters) : used_(parameters, false) {}
  int32_t read(const JsonAt& at) {
    const int64_t index = at.integer(0, static_cast<int64_t>(used_.size()) - 1);
    if (used_[static_cast<size_t>(index)]) at.reject("a parameter that has no other place");
    used_[static_cast<size_t>(index)] = true;
    return static_cast<int32_t>(index);
  }
  int32_t read_if(const JsonAt& at, const char* key) { return at.has(key) ? read(at[key]) : -1; }
  bool all() const { return std::find(used_.begin(), used_.end(), false) == used_.end(); }

 private:
  std::vector<bool> used_;
};

AdapterPlan::SitePlan parse_site(const JsonAt& at, Indices& indices) {
  at.expect_only({"layer", "site", "input_scale", "scale", "bias", "norm", "low_rank", "own"});
  AdapterPlan::SitePlan plan;
  plan.layer = at["layer"].integer(0, limits::kMaxLayers);
  const auto site = value_of(kSiteNames, at["site"].string());
  if (!site) at["site"].reject("a site");
  plan.site = *site;
  plan.input_scale = indices.read_if(at, "input_scale");
  plan.scale = indices.read_if(at, "scale");
  plan.bias = indices.read_if(at, "bias");
  if (at.has("norm")) {
    const JsonAt norm = at["norm"];
    norm.expect_only({"weight", "bias"});
    plan.norm_weight = indices.read(norm["weight"]);
    plan.norm_bias = indices.read(norm["bias"]);
  }
  if (at.has("low_rank")) {
    const JsonAt low_rank = at["low_rank"];
    low_rank.expect_only({"a", "b", "factor"});
    plan.a = indices.read(low_rank["a"]);
    plan.b = indices.read(low_rank["b"]);
    plan.factor = static_cast<float>(low_rank["factor"].number());
    if (!std::isfinite(plan.factor)) low_rank["factor"].reject("a finite float32 number");
  }
  if (at.has("own")) {
    const JsonAt own = at["own"];
    own.expect_only({"weight", "bias"});
    plan.own_weight = indices.read_if(own, "weight");
    plan.own_bias = indices.read_if(own, "bias");
    if (!plan.replaces()) own.reject("a weight, a bias, or both");
  }
  const bool edits = plan.scales_input() || plan.edits() || plan.has_norm() || plan.has_low_rank();
  if (!edits && !plan.replaces()) at.reject("at least one part");
  if (is_norm(plan.site) ? edits : plan.replaces())
    at.reject("own vectors at a norm of the model, and edits at a linear layer");
  return plan;
}

}  // namespace

AdapterPlan AdapterPlan::parse(const std::string& json) {
  // Six values for a parameter and as many for a site, with room for both at each site of the largest model.
  constexpr JsonLimits kLimits{64 << 20, 1 << 20};
  const Json document = Json::parse(json, "plan", kLimits);
  const JsonAt at(document, "plan", "ERR_ARGUMENT");
  at.expect_only({"parameters", "sites"});
  AdapterPlan plan;
  const JsonAt parameters = at["parameters"], sites = at["sites"];
  for (int64_t i = 0; i < parameters.size(); ++i) {
    Parameter parameter = parse_parameter(parameters.at(i));
    parameter.offset = plan.count;
    plan.count += element_count(parameter.shape);
    plan.parameters.push_back(std::move(parameter));
  }
  if (plan.parameters.empty()) parameters.reject("at least one parameter");
  Indices indices(plan.parameters.size());
  std::set<std::pair<int64_t, Site>> places;
  for (int64_t i = 0; i < sites.size(); ++i) {
    plan.sites.push_back(parse_site(sites.at(i), indices));
    if (!places.emplace(plan.sites.back().layer, plan.sites.back().site).second)
      sites.at(i).reject("each site of a layer once");
  }
  if (!indices.all()) parameters.reject("parameters that all have a place");
  return plan;
}

void AdapterPlan::require_fits(const Architecture& architecture) const {
  for (const SitePlan& plan : sites) {
    require(plan.layer < site_layers(architecture, plan.site), "ERR_ARGUMENT", "The adapter edits layer ", plan.layer,
            " but the model has ", architecture.stack.layers);
    require(has_site(architecture, plan.site), "ERR_ARGUMENT", "The adapter edits ", name_of(kSiteNames, plan.site),
            " but the model's feed-forward has no gate");
    const int64_t outputs = site_width(architecture, plan.site), inputs = site_inputs(architecture, plan.site);
    require(plan.own_bias < 0 || architecture.stack.norm.layer(), "ERR_ARGUMENT", "The adapter has a bias for ",
            site_name(plan.layer, plan.site), " but the model's norms have none");
    const auto expect = [&](int32_t index, const Shape& shape) {
      if (index < 0) return;
      const Parameter& own = parameters[static_cast<size_t>(index)];
      require(own.shape == shape, "ERR_SHAPE", "Expected shape ", shape_text(shape), " for ", own.name,
              " but received ", shape_text(own.shape));
    };
    expect(plan.input_scale, {inputs});
    for (const int32_t vector :
         {plan.scale, plan.bias, plan.norm_weight, plan.norm_bias, plan.own_weight, plan.own_bias})
      expect(vector, {outputs});
    if (!plan.has_low_rank()) continue;
    expect(plan.a, {rank(plan), inputs});
    expect(plan.b, {outputs, rank(plan)});
  }
}

bool AdapterPlan::has_norm() const {
  return std::any_of(sites.begin(), sites.end(), [](const SitePlan& site) { return site.has_norm(); });
}

std::shared_ptr<const AdapterPlan> shared_plan(AdapterPlan plan) {
  static Mutex mutex;
  static std::vector<std::weak_ptr<const AdapterPlan>>& known = *new std::vector<std::weak_ptr<const AdapterPlan>>;
  const std::lock_guard lock(mutex);
  std::erase_if(known, [](const auto& one) { return one.expired(); });
  for (const auto& one : known)
    if (auto found = one.lock(); found && *found == plan) return found;
  auto made = std::make_shared<const AdapterPlan>(std::move(plan));
  known.push_back(made);
  return made;
}

}  // namespace rubricate
