#include "adapter/activations.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/error.h"

namespace rubricate {

double activated(Activation activation, double x) {
  switch (activation) {
    case Activation::gelu:
      return 0.5 * x * std::erfc(-x / std::numbers::sqrt2);
    case Activation::gelu_tanh:
      return 0.5 * x * (1.0 + std::tanh(std::sqrt(2.0 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
    case Activation::silu:
      return x / (1.0 + std::exp(-x));
    case Activation::relu:
      return std::max(x, 0.0);
    case Activation::tanh:
      return std::tanh(x);
  }
  fail("ERR_INTERNAL", "No such activation");
}

double slope(Activation activation, double x) {
  switch (activation) {
    case Activation::gelu:
      return 0.5 * std::erfc(-x / std::numbers::sqrt2) + x * std::exp(-0.5 * x * x) / std::sqrt(2.0 * std::numbers::pi);
    case Activation::gelu_tanh: {
      const double scale = std::sqrt(2.0 / std::numbers::pi), t = std::tanh(scale * (x + 0.044715 * x * x * x));
      return 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * scale * (1.0 + 3.0 * 0.044715 * x * x);
    }
    case Activation::silu: {
      const double s = 1.0 / (1.0 + std::exp(-x));
      return s * (1.0 + x * (1.0 - s));
    }
    case Activation::relu:
      return x > 0.0 ? 1.0 : 0.0;
    case Activation::tanh:
      return 1.0 - std::tanh(x) * std::tanh(x);
  }
  fail("ERR_INTERNAL", "No such activation");
}

}  // namespace rubricate
