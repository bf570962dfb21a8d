// The block applies what an adapter declares at a site: each of the six parts at each of the seven sites. Two parts
// belong to adapters that this package does not ship: LoRA as a `branch` (Hu et al. 2021) and ETHER as an `input` (Bini
// et al. 2024). Gradients are checked against central differences of the whole model's loss, RED edits against a model
// with the edit folded into its weights.
#include <algorithm>
#include <cmath>

#include "adapter/adapter_batch.h"
#include "adapter/parts.h"
#include "doctest/doctest.h"
#include "model/logits.h"
#include "ops/cross_entropy/cross_entropy.h"
#include "ops/elementwise/elementwise.h"
#include "ops/layer_norm/layer_norm.h"
#include "ops/linear/linear.h"
#include "tests/ia3_plan.h"
#include "tests/test_model.h"

using namespace rubricate;
using namespace rubricate::testing;

namespace {

// The same parts in every layer.
class Adapters : public AdapterSet {
 public:
  explicit Adapters(std::map<Site, SiteParts> parts) : parts_(std::move(parts)) {}
  const SiteParts* at(int64_t, Site site) const override {
    const auto found = parts_.find(site);
    return found == parts_.end() ? nullptr : &found->second;
  }

 private:
  std::map<Site, SiteParts> parts_;
};

Weight trainable(const Tensor& matrix) {
  Weight weight = Weight::of(matrix);
  weight.gradient = std::make_shared<GradSlot>();
  weight.gradient->shape = matrix.shape();
  return weight;
}

SiteParts lora(const Weight& a, const Weight& b) {
  SiteParts parts;
  parts.trains = true;
  parts.branch = [a, b](Tape& tape, const Var& x) {
    const Var down = linear(tape, x, a, {}, DType::f32);
    return scale_by(tape, linear(tape, down, b, {}, DType::f32), 2.0f);
  };
  return parts;
}

// x' = x - 2 (u.x / u.u) u, and its derivatives with respect to x and u, as the adapter's own op.
Var reflect(Tape& tape, const Var& x, const Var& u) {
  const int64_t rows = x.value().rows(), width = x.value().cols();
  const float* direction = u.value().data<float>();
  double square = 0.0;
  for (int64_t j = 0; j < width; ++j) square += static_cast<double>(direction[j]) * static_cast<double>(direction[j]);
  const auto along = [=](const float* row) {
    double dot = 0.0;
    for (int64_t j = 0; j < width; ++j) dot += static_cast<double>(row[j]) * static_cast<double>(direction[j]);
    return dot;
  };
  const auto reflected = [=](Tape& t, const Tensor& in) {
    Tensor out = t.empty(in.shape(), DType::f32);
    for (int64_t r = 0; r < rows; ++r) {
      const float* row = in.data<float>() + r * width;
      const double p = along(row);
      for (int64_t j = 0; j < width; ++j)
        out.data<float>()[r * width + j] = static_cast<float>(row[j] - 2.0 * p / square * direction[j]);
    }
    return out;
  };
  Tensor out = reflected(tape, x.value());
  if (!tape.wants_grad(x, u)) return out;
  return tape.record(
      "reflect", out, [=, in = x.value(), x_slot = x.slot(), u_slot = u.slot()](Tape& t, const Tensor& grad) {
        t.accumulate(x_slot, reflected(t, grad));
        float* gradient = t.parameter_grad(u_slot).data<float>();
        for (int64_t r = 0; r < rows; ++r) {
          const float *row = in.data<float>() + r * width, *g = grad.data<float>() + r * width;
          const double p = along(row), q = along(g);
          for (int64_t j = 0; j < width; ++j)
            gradient[j] +=
                static_cast<float>(-2.0 / square * (q * row[j] + p * g[j] - 2.0 * p * q / square * direction[j]));
        }
      });
}

double loss_of(const Model& model, const AdapterSet& adapters, bool recompute, bool backward) {
  const auto tokens = tiny_tokens(37, 3);
  const Batch batch = fitting_batch({tokens, {0, 20, 37}, {1, 1}, {}});
  std::vector<int32_t> rows, targets;
  for (int32_t i = 0; i < 36; ++i)
    if (i != 19) {
      rows.push_back(i);
      targets.push_back(tokens[static_cast<size_t>(i) + 1]);
    }
  const std::vector<float> weights(rows.size(), 1.0f / 35.0f);
  Tape tape(test_arena(), backward ? Tape::Mode::training : Tape::Mode::inference);
  const Var hidden = model.forward(tape, batch, &adapters, recompute, nullptr);
  const CrossEntropy result = head_cross_entropy(
      tape, hidden, model.head(), {static_cast<int64_t>(rows.size()), rows.data(), targets.data(), weights.data()});
  double loss = 0.0;
  for (const float nats : result.row_loss) loss += static_cast<double>(nats) / 35.0;
  if (backward) tape.backward(result.loss);
  return loss;
}

// The derivative along the gradient, which is the norm of the gradient: by differences and from the tape.
void check_derivative(const Model& model, const AdapterSet& adapters, const Tensor& parameter,
                      const Doubles& gradient) {
  double norm = 0.0;
  for (const double g : gradient) norm += g * g;
  norm = std::sqrt(norm);
  REQUIRE(norm > 1e-3);
  const Doubles before = to_doubles(parameter);
  const auto at = [&](double step) {
    for (size_t i = 0; i < before.size(); ++i)
      parameter.data<float>()[i] = static_cast<float>(before[i] + step * gradient[i] / norm);
    return loss_of(model, adapters, false, false);
  };
  const double step = 5e-3;
  const double numeric = (8.0 * (at(step) - at(-step)) - (at(2 * step) - at(-2 * step))) / (12.0 * step);
  at(0.0);
  CHECK(numeric == doctest::Approx(norm).epsilon(3e-3));
}

void check_gradient(const Model& model, const AdapterSet& adapters, const Tensor& parameter, GradSlot& slot) {
  slot.grad = {};
  loss_of(model, adapters, false, true);
  const Doubles gradient = to_doubles(slot.grad);
  slot.grad = {};
  loss_of(model, adapters, true, true);
  CHECK(to_doubles(slot.grad) == gradient);  // recomputed = stored
  check_derivative(model, adapters, parameter, gradient);
}

// A trained tensor of a part of SiteParts, and its gradient.
struct Trained {
  Tensor value;
  std::shared_ptr<GradSlot> slot;
};

Trained trained(const Weight& weight) { return {weight.storage, weight.gradient}; }
Trained trained(const Var& var) { return {var.value(), var.slot()}; }

Var random_vector(int64_t width, uint64_t seed, double least, double most) {
  return Var::parameter(random_tensor(test_arena(), {width}, DType::f32, seed, least, most));
}

SlotVectors one_slot(const Var& scale, const Var& bias) {
  SlotVectors edit;
  edit.slots = {{}, {scale, bias}};
  return edit;
}

// One of the six parts for a layer of that shape, and its trained tensors.
using Part = std::function<std::vector<Trained>(SiteParts& parts, int64_t outputs, int64_t inputs)>;

const std::pair<const char*, Part> kParts[] = {
    {"input",
     [](SiteParts& parts, int64_t, int64_t inputs) {
       const Var u = random_vector(inputs, 34, -1.0, 1.0);
       parts.input = [u](Tape& tape, const Var& x) { return reflect(tape, x, u); };
       return std::vector<Trained>{trained(u)};
     }},
    {"weight",
     [](SiteParts& parts, int64_t outputs, int64_t inputs) {
       const double width = 1.5 / std::sqrt(static_cast<double>(inputs));
       const Weight other = trainable(random_tensor(test_arena(), {outputs, inputs}, DType::f32, 35, -width, width));
       parts.weight = [other](Tape&, const Weight&) { return other; };
       return std::vector<Trained>{trained(other)};
     }},
    {"branch",
     [](SiteParts& parts, int64_t outputs, int64_t inputs) {
       const Weight a = trainable(random_tensor(test_arena(), {3, inputs}, DType::f32, 31)),
                    b = trainable(random_tensor(test_arena(), {outputs, 3}, DType::f32, 32));
       parts = lora(a, b);
       return std::vector<Trained>{trained(a), trained(b)};
     }},
    {"affine",
     [](SiteParts& parts, int64_t outputs, int64_t) {
       const Var scale = random_vector(outputs, 36, 0.5, 1.5), bias = random_vector(outputs, 37, -0.5, 0.5);
       parts.affine = one_slot(scale, bias);
       return std::vector<Trained>{trained(scale), trained(bias)};
     }},
    {"output",
     [](SiteParts& parts, int64_t outputs, int64_t) {
       const Var scale = random_vector(outputs, 38, 0.5, 1.5), bias = random_vector(outputs, 39, -0.5, 0.5);
       parts.output = [norm = one_slot(scale, bias)](Tape& tape, const Var& y, const SequenceRows& rows) {
         return layer_norm(tape, y, norm, rows, kEditNormEps);
       };
       return std::vector<Trained>{trained(scale), trained(bias)};
     }},
    {"input_scale",
     [](SiteParts& parts, int64_t, int64_t inputs) {
       const Var scale = random_vector(inputs, 40, 0.5, 1.5);
       parts.input_scale = one_slot(scale, {});
       return std::vector<Trained>{trained(scale)};
     }},
};

// The outputs and inputs of a site's layer.
std::pair<int64_t, int64_t> shape_at(const Architecture& architecture, Site site) {
  for (const TensorSpec& spec : tensor_specs(architecture))
    if (spec.name == site_name(0, site) + ".weight") return {spec.shape[0], spec.shape[1]};
  return {};
}

// Scale and bias of each site of each layer, folded into the weights: s (W x + b) + c = (diag(s) W) x + (s b + c), and
// W (s x) = (W diag(s)) x.
std::unique_ptr<Model> folded_model(const TinyConfig& config, Adapter& adapter) {
  std::map<std::string, Tensor> vectors;
  for (const Parameter& parameter : adapter.parameters()) vectors[parameter.name] = parameter.master;
  return tiny_model(config, DType::f32, DType::f32, [&](const std::string& name, const Tensor& tensor) {
    const size_t dot = name.rfind('.');
    const auto input = vectors.find(name.substr(0, dot) + ".input_scale");
    if (input != vectors.end() && name.substr(dot) == ".weight")
      for (int64_t i = 0; i < tensor.count(); ++i)
        tensor.data<float>()[i] *= input->second.data<float>()[i % tensor.cols()];
    const auto scale = vectors.find(name.substr(0, dot) + ".scale"), bias = vectors.find(name.substr(0, dot) + ".bias");
    if (scale == vectors.end()) return;
    const bool is_bias = name.substr(dot) == ".bias";
    const int64_t width = is_bias ? 1 : tensor.cols();
    float* values = tensor.data<float>();
    for (int64_t i = 0; i < tensor.count(); ++i) {
      values[i] *= scale->second.data<float>()[i / width];
      if (is_bias) values[i] += bias->second.data<float>()[i];
    }
  });
}

}  // namespace

TEST_CASE("each part of an adapter composes with the block at each site and gets the right gradients") {
  const auto model = tiny_model({});
  for (const Site site : all_sites())
    for (const auto& [name, part] : kParts) {
      CAPTURE(site_name(0, site));
      CAPTURE(name);
      const auto [outputs, inputs] = shape_at(model->architecture(), site);
      SiteParts parts;
      const std::vector<Trained> all = part(parts, outputs, inputs);
      parts.trains = true;
      const Adapters adapters({{site, parts}});
      for (const Trained& one : all) check_gradient(*model, adapters, one.value, *one.slot);
    }
}

TEST_CASE("all parts at all sites together get the right gradients") {
  for (const bool head_norm : {false, true}) {
    const auto model = tiny_model({.head_norm = head_norm});
    std::map<Site, SiteParts> everywhere;
    std::vector<Trained> all;
    for (const Site site : all_sites()) {
      const auto [outputs, inputs] = shape_at(model->architecture(), site);
      SiteParts parts;
      kParts[2].second(parts, outputs, inputs);  // first: a branch replaces the parts
      for (const int i : {0, 1, 3, 4, 5}) {
        const auto trained = kParts[i].second(parts, outputs, inputs);
        all.insert(all.end(), trained.begin(), trained.end());
      }
      everywhere.emplace(site, std::move(parts));
    }
    const Adapters adapters(std::move(everywhere));
    for (const Trained& one : all) check_gradient(*model, adapters, one.value, *one.slot);
  }
}

TEST_CASE("the weights of heads' norms get the right gradients") {
  const auto model = tiny_model({.head_norm = true});
  const auto parameters = model->make_trainable();
  int checked = 0;
  for (const Parameter& parameter : parameters->parameters()) {
    if (parameter.name.find("_norm.weight") == std::string::npos) continue;
    CAPTURE(parameter.name);
    std::fill_n(parameter.grad.data<float>(), parameter.grad.count(), 0.0f);
    loss_of(*model, Adapters({}), false, true);
    check_derivative(*model, Adapters({}), parameter.master, to_doubles(parameter.grad));
    ++checked;
  }
  CHECK(checked == 6);
}

namespace {

std::vector<std::vector<Site>> each_and_all_sites() {
  std::vector<std::vector<Site>> cases = {all_sites()};
  for (const Site site : all_sites()) cases.push_back({site});
  return cases;
}

// The adapter's logits are those of the model with its vectors in the weights.
void check_folded(const TinyConfig& config, const Model& model, const std::shared_ptr<Adapter>& adapter) {
  const auto logits = [](const Model& of, const std::shared_ptr<Adapter>& with) {
    return to_doubles(forward_logits(of, fitting_batch({tiny_tokens(9, 3), {0, 9}, {1}, {}}), {with}, {0, 4, 8},
                                     {nullptr, {}, test_arena()}));
  };
  const Doubles edited = logits(model, adapter), folded = logits(*folded_model(config, *adapter), nullptr);
  for (size_t i = 0; i < edited.size(); ++i) CHECK(edited[i] == doctest::Approx(folded[i]).epsilon(1e-4).scale(1.0));
  CHECK(edited != logits(model, nullptr));
}

}  // namespace

TEST_CASE("a RED edit at any site is the layer with its rows scaled and its bias shifted") {
  const TinyConfig config{.bias = true};
  for (const auto& sites : each_and_all_sites()) {
    CAPTURE(site_name(0, sites.front()));
    const auto model = tiny_model(config);
    check_folded(config, *model, random_adapter(*model, RedVariant::all, 7, sites));
  }
}

TEST_CASE("a scale of the input at any site is the layer with its columns scaled") {
  const TinyConfig config{.bias = true};
  for (const auto& sites : each_and_all_sites()) {
    CAPTURE(site_name(0, sites.front()));
    const auto model = tiny_model(config);
    check_folded(config, *model, random_ia3(*model, 7, {}, sites));
  }
}
