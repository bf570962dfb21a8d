// Polar factors against their definition, and the gradient of the norm in a step.
#include "train/nuclear_norm.h"

#include <cmath>
#include <set>

#include "base/random.h"
#include "tests/sparse_plan.h"
#include "train/train_step.h"

using namespace rubricate;
using namespace rubricate::testing;

namespace {

// The largest difference from the identity of p p^T, or p^T p, of a matrix of full rank.
double away_from_orthogonal(const Tensor& polar) {
  const int64_t rows = polar.dim(0), cols = polar.dim(1), small = std::min(rows, cols);
  const Doubles p = to_doubles(polar);
  const auto at = [&](int64_t i, int64_t k) { return rows <= cols ? p[i * cols + k] : p[k * cols + i]; };
  double most = 0.0;
  for (int64_t i = 0; i < small; ++i)
    for (int64_t j = 0; j < small; ++j) {
      double sum = 0.0;
      for (int64_t k = 0; k < std::max(rows, cols); ++k) sum += at(i, k) * at(j, k);
      most = std::max(most, std::abs(sum - (i == j ? 1.0 : 0.0)));
    }
  return most;
}

}  // namespace

TEST_CASE("a polar factor is orthogonal, keeps the matrix's directions, and is exact for a diagonal") {
  for (const auto& stream : devices())
    for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>(9, 24), {24, 9}, {1, 7}, {16, 3}}) {
      CAPTURE(rows);
      const JobControl job{nullptr, {}, stream ? device_arena() : test_arena()};
      const Tensor matrix = Tensor::empty(test_arena(), {rows, cols}, DType::f32);
      for (int64_t i = 0; i < matrix.count(); ++i)
        matrix.data<float>()[i] = static_cast<float>(philox_uniform(rows * 100 + cols, 1, i) - 0.5);
      const Tensor polar = polar_factor(matrix, job);
      CHECK(away_from_orthogonal(polar) < 1e-5);
      // <matrix, polar> is the nuclear norm, the largest of all orthogonal matrices; so matrix^T polar is symmetric.
      const Doubles a = to_doubles(matrix), p = to_doubles(polar);
      for (int64_t i = 0; i < cols; ++i)
        for (int64_t j = 0; j < i; ++j) {
          double one = 0.0, other = 0.0;
          for (int64_t k = 0; k < rows; ++k) {
            one += a[k * cols + i] * p[k * cols + j];
            other += a[k * cols + j] * p[k * cols + i];
          }
          CHECK(one == doctest::Approx(other).epsilon(1e-5).scale(1.0));
        }
      const Tensor diagonal = Tensor::zeros(test_arena(), {rows, cols}, DType::f32);
      diagonal.data<float>()[0] = -3.0f;
      if (std::min(rows, cols) > 1) diagonal.data<float>()[cols + 1] = 0.01f;
      const Doubles sign = to_doubles(polar_factor(diagonal, job));
      for (int64_t i = 0; i < rows * cols; ++i) {
        const double expected = i == 0 ? -1.0 : i == cols + 1 && std::min(rows, cols) > 1 ? 1.0 : 0.0;
        CHECK(sign[i] == doctest::Approx(expected).epsilon(1e-5).scale(1.0));
      }
    }
}

TEST_CASE("a step adds the norm's gradient of one matrix, at entries that are not frozen, to the gradient") {
  for (const auto& stream : devices()) {
    present_device() = stream;
    const std::shared_ptr<Model> model = tiny_model({});
    const auto adapter = random_sparse(*model, 3.0, 4, {Site::q_proj, Site::down_proj});
    const JobControl job{nullptr, {}, stream ? device_arena() : test_arena()};
    const MicroBatch batch = tiny_batch({tiny_tokens(9, 1)}, {1});
    const auto gradient = [&](double factor, int64_t step) {
      const Tenant tenant{adapter, adapter, std::make_shared<OptimizerState>(*adapter), {}};
      tenant.optimizer->nuclear = {factor, 7, std::vector<float>(static_cast<size_t>(adapter->count()), 0.25f)};
      tenant.optimizer->step = step;
      tenant.optimizer->freeze({1, 3});
      train_step(*model, {tenant}, {batch}, {.update = false}, job);
      return to_doubles(adapter->gradients());
    };
    std::set<size_t> chosen;
    for (int64_t step = 0; step < 12; ++step) {
      const Doubles plain = gradient(0.0, step), own = gradient(0.5, step);
      CHECK(own == gradient(0.5, step));
      std::set<size_t> changed;
      for (size_t p = 0; p < adapter->plan()->parameters.size(); ++p) {
        const auto& parameter = adapter->plan()->parameters[p];
        const SparseIndex& index = *adapter->plan()->indices[p].index;
        const Tensor matrix = Tensor::zeros(test_arena(), {index.outputs(), index.inputs()}, DType::f32);
        const auto places = index.indices();
        for (int64_t i = 0; i < index.count(); ++i)
          if (parameter.offset + i != 1 && parameter.offset + i != 3)
            matrix.data<float>()[places[i]] = 0.25f + adapter->values().data<float>()[parameter.offset + i];
        const Tensor polar = polar_factor(matrix, job);
        bool is_this = true;
        for (int64_t i = 0; i < index.count(); ++i) {
          const size_t at = static_cast<size_t>(parameter.offset + i);
          if (own[at] != plain[at]) changed.insert(p);
          if (at != 1 && at != 3)
            is_this = is_this && std::abs(own[at] - plain[at] - 0.5 * polar.data<float>()[places[i]]) < 1e-5;
          else
            CHECK(own[at] == 0.0);
        }
        if (changed.count(p)) CHECK(is_this);
      }
      REQUIRE(changed.size() == 1);
      chosen.insert(*changed.begin());
    }
    CHECK(chosen.size() > 1);
    present_device() = nullptr;
  }
}
