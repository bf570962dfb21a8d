#include "gpu/product_checks.h"

#include <cmath>
#include <vector>

namespace rubricate::bench {
namespace {

constexpr int kPlaces = 24;

// Pseudorandom places, the same in every run; the first and the last are those of the range.
int64_t place_of(int index, int64_t count, uint32_t seed) {
  if (index == 0) return 0;
  if (index == 1) return count - 1;
  const uint32_t word = (static_cast<uint32_t>(index) * 2654435761u) ^ (seed * 40503u);
  return static_cast<int64_t>(word >> 1) % count;
}

// An operand that repeats a block of numbers.
class Operand {
 public:
  Operand(int64_t count, DType dtype, uint32_t seed) : block_(random_block(count, dtype, seed)) {}
  double at(int64_t index) const {
    return static_cast<double>(block_[static_cast<size_t>(index % static_cast<int64_t>(block_.size()))]);
  }

 private:
  std::vector<float> block_;
};

double element(const Run& run, const Tensor& tensor, int64_t row, int64_t column) {
  const std::vector<char> stored = rows_of(run, tensor, {row, 1});
  const char* at = stored.data() + column * dtype_size(tensor.dtype());
  if (tensor.dtype() == DType::bf16) return static_cast<double>(to_float(*reinterpret_cast<const bf16*>(at)));
  return static_cast<double>(*reinterpret_cast<const float*>(at));
}

// One head of one sequence, in double.
class Head {
 public:
  Head(const AttentionProblem& problem, int64_t sequence, int64_t head)
      : p_(problem),
        first_(sequence * problem.length),
        head_(head),
        width_(problem.shape.heads * problem.shape.head_dim) {
    for (uint32_t i = 0; i < 4; ++i) operands_.emplace_back(problem.rows * width_, DType::bf16, i + 1);
  }
  enum Kind { q = 0, k = 1, v = 2, dout = 3 };
  double value(Kind kind, int64_t row, int64_t d) const {
    return operands_[kind].at((first_ + row) * width_ + head_ * p_.shape.head_dim + d);
  }
  double dot(Kind a, int64_t row, Kind b, int64_t other) const {
    double sum = 0.0;
    for (int64_t d = 0; d < p_.shape.head_dim; ++d) sum += value(a, row, d) * value(b, other, d);
    return sum;
  }
  // The weights of keys 0 .. row of a row.
  std::vector<double> weights(int64_t row) const {
    std::vector<double> p;
    double sum = 0.0;
    for (int64_t j = 0; j <= row; ++j) {
      p.push_back(std::exp(static_cast<double>(p_.shape.scale) * dot(q, row, k, j)));
      sum += p.back();
    }
    for (double& x : p) x /= sum;
    return p;
  }
  double output(const std::vector<double>& p, int64_t d) const {
    double sum = 0.0;
    for (size_t j = 0; j < p.size(); ++j) sum += p[j] * value(v, static_cast<int64_t>(j), d);
    return sum;
  }
  // Gradients of the scores of a row: scale p (dO . v - dO . o).
  std::vector<double> score_gradients(int64_t row, const std::vector<double>& p) const {
    double delta = 0.0;
    for (int64_t d = 0; d < p_.shape.head_dim; ++d) delta += value(dout, row, d) * output(p, d);
    std::vector<double> ds;
    for (size_t j = 0; j < p.size(); ++j)
      ds.push_back(static_cast<double>(p_.shape.scale) * p[j] * (dot(dout, row, v, static_cast<int64_t>(j)) - delta));
    return ds;
  }
  int64_t row_in_batch(int64_t row) const { return first_ + row; }
  int64_t column(int64_t d) const { return head_ * p_.shape.head_dim + d; }

 private:
  const AttentionProblem& p_;
  int64_t first_, head_, width_;
  std::vector<Operand> operands_;
};

constexpr int kHeads = 3;  // places that are checked

template <typename Body>
void in_some_heads(const AttentionProblem& problem, const Body& body) {
  for (int i = 0; i < kHeads; ++i)
    body(Head(problem, place_of(i, problem.rows / problem.length, 1), place_of(i, problem.shape.heads, 2)), i);
}

// Compares a row of a head with `wanted`, [head_dim].
void compare_row(const Run& run, const char* what, const Tensor& found, const Head& head, int64_t row,
                 const std::vector<double>& wanted) {
  double largest = 0.0;
  for (const double x : wanted) largest = std::max(largest, std::abs(x));
  for (size_t d = 0; d < wanted.size(); ++d)
    require_close(what, element(run, found, head.row_in_batch(row), head.column(static_cast<int64_t>(d))), wanted[d],
                  largest, found.dtype());
}

}  // namespace

void check_matmul(const Run& run, const char* what, const MatmulArgs& args, const Tensor& c) {
  const Operand a(args.m * args.k, args.a_dtype, 1), b(args.n * args.k, args.b_dtype, 2);
  for (int place = 0; place < kPlaces; ++place) {
    const int64_t row = place_of(place, args.m, 3), column = place_of(place, args.n, 4);
    double sum = 0.0, size = 0.0;
    for (int64_t k = 0; k < args.k; ++k) {
      const double x = a.at(args.a_transposed ? k * args.a_stride + row : row * args.a_stride + k);
      const double y = b.at(args.b_transposed ? column * args.b_stride + k : k * args.b_stride + column);
      sum += x * y;
      size += std::abs(x * y);
    }
    // Sums in fp32 are rounded at each step, those in bf16 once.
    require_close(what, element(run, c, row, column), sum,
                  c.dtype() == DType::bf16 ? std::abs(sum) + 1e-5 * size : size, c.dtype());
  }
}

void check_attention_forward(const Run& run, const AttentionProblem& problem, const Tensor& out) {
  in_some_heads(problem, [&](const Head& head, int i) {
    const int64_t row = place_of(i + 1, problem.length, 5);
    const std::vector<double> p = head.weights(row);
    std::vector<double> wanted;
    for (int64_t d = 0; d < problem.shape.head_dim; ++d) wanted.push_back(head.output(p, d));
    compare_row(run, "attention forward", out, head, row, wanted);
  });
}

void check_attention_backward(const Run& run, const AttentionProblem& problem, const Tensor& dq, const Tensor& dk,
                              const Tensor& dv) {
  const auto size = static_cast<size_t>(problem.shape.head_dim);
  in_some_heads(problem, [&](const Head& head, int i) {
    const int64_t row = place_of(i + 1, problem.length, 5);
    const std::vector<double> ds = head.score_gradients(row, head.weights(row));
    std::vector<double> wanted(size, 0.0);
    for (size_t j = 0; j < ds.size(); ++j)
      for (size_t d = 0; d < size; ++d)
        wanted[d] += ds[j] * head.value(Head::k, static_cast<int64_t>(j), static_cast<int64_t>(d));
    compare_row(run, "attention backward, dq", dq, head, row, wanted);

    const int64_t key = problem.length - 2;
    std::vector<double> of_key(size, 0.0), of_value(size, 0.0);
    for (int64_t t = key; t < problem.length; ++t) {
      const std::vector<double> p = head.weights(t), gradients = head.score_gradients(t, p);
      for (size_t d = 0; d < size; ++d) {
        of_key[d] += gradients[static_cast<size_t>(key)] * head.value(Head::q, t, static_cast<int64_t>(d));
        of_value[d] += p[static_cast<size_t>(key)] * head.value(Head::dout, t, static_cast<int64_t>(d));
      }
    }
    compare_row(run, "attention backward, dk", dk, head, key, of_key);
    compare_row(run, "attention backward, dv", dv, head, key, of_value);
  });
}

}  // namespace rubricate::bench
