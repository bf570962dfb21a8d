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
  parameter.shape = parse_shape(at["shape"]);
  parameter.start = static_cast<float>(at["start"].number());
  if (!std::isfinite(parameter.start)) at["start"].reject("a finite float32 number");
  if (at.has("decays")) parameter.decays = at["decays"].boolean();
  return parameter;
}

void read_sparse(const JsonAt& at, AdapterPlan::SitePlan& plan, PlanIndices& indices,
                 const std::vector<PlanSparse>& sparse) {
  at.expect_only({"values", "index"});
  plan.sparse_values = indices.read(at["values"]);
  if (sparse.empty()) at["index"].reject("a plan with indices");
  plan.sparse_index = static_cast<int32_t>(at["index"].integer(0, static_cast<int64_t>(sparse.size()) - 1));
}

AdapterPlan::SitePlan parse_site(const JsonAt& at, PlanIndices& indices, const PlanConstants& constants,
                                 const std::vector<PlanSparse>& sparse) {
  at.expect_only({"layer", "site", "input_scale", "scale", "bias", "norm", "low_rank", "sparse", "own", "input",
                  "branch", "output"});
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
  if (at.has("sparse")) read_sparse(at["sparse"], plan, indices, sparse);
  if (at.has("own")) {
    const JsonAt own = at["own"];
    own.expect_only({"weight", "bias"});
    plan.own_weight = indices.read_if(own, "weight");
    plan.own_bias = indices.read_if(own, "bias");
    if (!plan.replaces()) own.reject("a weight, a bias, or both");
  }
  plan.input = parse_steps(at, "input", indices, constants);
  plan.branch = parse_steps(at, "branch", indices, constants);
  plan.output = parse_steps(at, "output", indices, constants);
  const bool edits = plan.scales_input() || plan.edits() || plan.has_norm() || plan.has_low_rank() ||
                     plan.has_sparse() || plan.has_steps();
  if (!edits && !plan.replaces()) at.reject("at least one part");
  if (is_norm(plan.site) ? edits : plan.replaces())
    at.reject("own vectors at a norm of the model, and edits at a linear layer");
  return plan;
}

}  // namespace

AdapterPlan AdapterPlan::parse(const std::string& json, std::vector<float> constants,
                               const std::vector<int32_t>& sparse) {
  // Six values for a parameter and as many for a site, with room for both at each site of the largest model.
  constexpr JsonLimits kLimits{64 << 20, 1 << 20};
  const Json document = Json::parse(json, "plan", kLimits);
  const JsonAt at(document, "plan", "ERR_ARGUMENT");
  at.expect_only({"parameters", "sites", "constants", "derived", "indices"});
  AdapterPlan plan;
  plan.constants = PlanConstants::parse(at, std::move(constants));
  plan.indices = parse_sparse(at, sparse);
  const JsonAt parameters = at["parameters"], sites = at["sites"];
  for (int64_t i = 0; i < parameters.size(); ++i) {
    Parameter parameter = parse_parameter(parameters.at(i));
    parameter.offset = plan.count;
    plan.count += element_count(parameter.shape);
    plan.parameters.push_back(std::move(parameter));
  }
  if (plan.parameters.empty()) parameters.reject("at least one parameter");
  PlanIndices indices(plan.parameters.size(), at.has("derived") ? static_cast<size_t>(at["derived"].size()) : 0);
  for (int64_t i = 0; at.has("derived") && i < at["derived"].size(); ++i) {
    PlanDerived derived = parse_derived(at["derived"].at(i), plan, indices);
    derived.offset = plan.derived_count;
    plan.derived_count += element_count(derived.shape);
    plan.derived.push_back(std::move(derived));
  }
  std::set<std::pair<int64_t, Site>> places;
  for (int64_t i = 0; i < sites.size(); ++i) {
    plan.sites.push_back(parse_site(sites.at(i), indices, plan.constants, plan.indices));
    if (!places.emplace(plan.sites.back().layer, plan.sites.back().site).second)
      sites.at(i).reject("each site of a layer once");
  }
  if (!indices.all()) parameters.reject("parameters and derived values that all have a place");
  return plan;
}

void AdapterPlan::require_fits(const Architecture& architecture) const {
  for (const PlanDerived& own : derived)
    if (own.kind == DerivedKind::weight_product) require_weight_fits(*this, own, architecture);
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
      require(this->shape(index) == shape, "ERR_SHAPE", "Expected shape ", shape_text(shape), " for ", name(index),
              " but received ", shape_text(this->shape(index)));
    };
    expect(plan.input_scale, {inputs});
    for (const int32_t vector :
         {plan.scale, plan.bias, plan.norm_weight, plan.norm_bias, plan.own_weight, plan.own_bias})
      expect(vector, {outputs});
    if (plan.has_low_rank()) {
      expect(plan.a, {rank(plan), inputs});
      expect(plan.b, {outputs, rank(plan)});
    }
    if (plan.has_sparse()) {
      const PlanSparse& sparse = indices[static_cast<size_t>(plan.sparse_index)];
      const Shape shape{sparse.index->outputs(), sparse.index->inputs()};
      require(shape == Shape{outputs, inputs}, "ERR_SHAPE", "Expected shape ", shape_text({outputs, inputs}), " for ",
              sparse.name, " but received ", shape_text(shape));
      expect(plan.sparse_values, {sparse.index->count()});
    }
    const auto shape_of = [&](const PlanStep& step, int32_t index) -> const Shape& {
      return step.constant ? constants.list[static_cast<size_t>(index)].shape : this->shape(index);
    };
    const std::string where = site_name(plan.layer, plan.site);
    require_widths(plan.input, inputs, inputs, architecture.hidden, where + ".input", shape_of);
    require_widths(plan.branch, inputs, outputs, architecture.hidden, where + ".branch", shape_of);
    require_widths(plan.output, outputs, outputs, architecture.hidden, where + ".output", shape_of);
  }
}

const std::string& AdapterPlan::name(int32_t index) const {
  const auto at = static_cast<size_t>(index);
  return at < parameters.size() ? parameters[at].name : derived[at - parameters.size()].name;
}

const Shape& AdapterPlan::shape(int32_t index) const {
  const auto at = static_cast<size_t>(index);
  return at < parameters.size() ? parameters[at].shape : derived[at - parameters.size()].shape;
}

int64_t AdapterPlan::offset(int32_t index) const {
  const auto at = static_cast<size_t>(index);
  return at < parameters.size() ? parameters[at].offset : count + derived[at - parameters.size()].offset;
}

bool AdapterPlan::reads_weights() const {
  return std::any_of(derived.begin(), derived.end(),
                     [](const PlanDerived& own) { return own.kind == DerivedKind::weight_product; });
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
