#include "adapter/einsum.h"

#include <algorithm>
#include <utility>

namespace rubricate {
namespace {

// One letter's loop: the steps that it takes in the two operands and in the result.
struct Loop {
  int64_t size, a, b, out;
};

int64_t stride(const std::string& axes, char letter, const EinsumSizes& sizes) {
  const size_t at = axes.find(letter);
  if (at == std::string::npos) return 0;
  int64_t step = 1;
  for (size_t i = at + 1; i < axes.size(); ++i) step *= sizes.of(axes[i]);
  return step;
}

// The loops of these letters, the first one outermost; neighbours that one loop can run over are one. In the result they follow each other
// anyway: letters are its own in their order, or none of its.
std::vector<Loop> fused_loops(const std::string& letters, const std::string& a, const std::string& b,
                              const std::string& out, const EinsumSizes& sizes) {
  std::vector<Loop> loops;
  for (const char letter : letters) {
    const Loop own{sizes.of(letter), stride(a, letter, sizes), stride(b, letter, sizes), stride(out, letter, sizes)};
    const auto continues = [&](int64_t before, int64_t step) { return before == step * own.size; };
    if (!loops.empty() && continues(loops.back().a, own.a) && continues(loops.back().b, own.b))
      loops.back() = {loops.back().size * own.size, own.a, own.b, own.out};
    else
      loops.push_back(own);
  }
  return loops;
}

// The innermost loop. With steps of 1 compilers vectorise it.
void add_products(const Loop& inner, const double* a, const double* b, double* to) {
  if (inner.out == 1 && inner.a == 1 && inner.b == 0) std::swap(a, b);
  if (inner.out == 1 && inner.a + inner.b == 1) {
    const double times = a[0];
    for (int64_t i = 0; i < inner.size; ++i) to[i] += times * b[i];
    return;
  }
  for (int64_t i = 0; i < inner.size; ++i) to[i * inner.out] += a[i * inner.a] * b[i * inner.b];
}

// The running products: 1, then with one operand more each.
std::vector<EinsumTerm> running_products(const std::vector<EinsumTerm>& operands, const std::string& axes,
                                         const EinsumSizes& sizes) {
  std::vector<std::string> all;
  for (const EinsumTerm& operand : operands) all.push_back(operand.axes);
  std::vector<EinsumTerm> products{{"", {1.0}}};
  for (size_t i = 0; i < operands.size(); ++i)
    products.push_back(contract(products.back(), operands[i], kept_axes(products.back().axes, all, i, axes), sizes));
  return products;
}

}  // namespace

std::string joined_axes(const std::string& one, const std::string& other) {
  std::string joined = one;
  for (const char letter : other)
    if (one.find(letter) == std::string::npos) joined += letter;
  return joined;
}

std::string kept_axes(const std::string& running, const std::vector<std::string>& operands, size_t at,
                      const std::string& result) {
  if (at + 1 == operands.size()) return result;
  std::string needed = result, kept;
  for (size_t i = at + 1; i < operands.size(); ++i) needed += operands[i];
  for (const char letter : joined_axes(running, operands[at]))
    if (needed.find(letter) != std::string::npos) kept += letter;
  return kept;
}

EinsumTerm contract(const EinsumTerm& a, const EinsumTerm& b, const std::string& axes, const EinsumSizes& sizes) {
  const std::string all = joined_axes(axes, joined_axes(a.axes, b.axes));
  std::vector<Loop> loops = fused_loops(axes, a.axes, b.axes, axes, sizes);
  const std::vector<Loop> summed = fused_loops(all.substr(axes.size()), a.axes, b.axes, axes, sizes);
  // The last one of the result is the innermost, where its elements are neighbours; the summed ones surround it.
  loops.insert(loops.empty() ? loops.end() : loops.end() - 1, summed.begin(), summed.end());
  Loop inner{1, 0, 0, 0};
  if (!loops.empty()) {
    inner = loops.back();
    loops.pop_back();
  }
  int64_t count = 1;
  for (const char letter : axes) count *= sizes.of(letter);
  EinsumTerm result{axes, std::vector<double>(static_cast<size_t>(count), 0.0)};
  std::vector<int64_t> at(loops.size(), 0);
  const double *from_a = a.values.data(), *from_b = b.values.data();
  double* to = result.values.data();
  for (;;) {
    add_products(inner, from_a, from_b, to);
    size_t level = loops.size();
    for (; level > 0; --level) {
      const Loop& loop = loops[level - 1];
      from_a += loop.a, from_b += loop.b, to += loop.out;
      if (++at[level - 1] < loop.size) break;
      at[level - 1] = 0;
      from_a -= loop.a * loop.size, from_b -= loop.b * loop.size, to -= loop.out * loop.size;
    }
    if (level == 0) return result;
  }
}

EinsumTerm einsum(const std::vector<EinsumTerm>& operands, const std::string& axes, const EinsumSizes& sizes) {
  return std::move(running_products(operands, axes, sizes).back());
}

std::vector<EinsumTerm> einsum_backward(const std::vector<EinsumTerm>& operands, EinsumTerm gradient,
                                        const EinsumSizes& sizes) {
  const std::vector<EinsumTerm> products = running_products(operands, gradient.axes, sizes);
  std::vector<EinsumTerm> gradients(operands.size());
  for (size_t i = operands.size(); i-- > 0;) {
    gradients[i] = contract(gradient, products[i], operands[i].axes, sizes);
    if (i > 0) gradient = contract(gradient, operands[i], products[i].axes, sizes);
  }
  return gradients;
}

}  // namespace rubricate
