// Products of small tensors as torch.einsum writes them: a letter names an axis, and letters that the result lacks are summed. On
// the CPU in double, since they run once a step on few numbers (adapter/derived.h).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace rubricate {

// Sizes of the axes by letter; 0: no such letter.
class EinsumSizes {
 public:
  int64_t& of(char letter) { return sizes_[static_cast<size_t>(letter - 'a')]; }
  int64_t of(char letter) const { return sizes_[static_cast<size_t>(letter - 'a')]; }

 private:
  std::array<int64_t, 26> sizes_{};
};

struct EinsumTerm {
  std::string axes;            // a letter for each axis
  std::vector<double> values;  // by rows
};

// The letters of one, then those of the other that it lacks.
std::string joined_axes(const std::string& one, const std::string& other);
// Of the product of what came before operand `at` and that operand: the letters that the result or a later operand needs, for the last
// one those of the result in their order.
std::string kept_axes(const std::string& running, const std::vector<std::string>& operands, size_t at,
                      const std::string& result);

// The product of two terms with these axes, in a fixed order of sums.
EinsumTerm contract(const EinsumTerm& a, const EinsumTerm& b, const std::string& axes, const EinsumSizes& sizes);

// The product of the operands from left to right, summed as soon as possible.
EinsumTerm einsum(const std::vector<EinsumTerm>& operands, const std::string& axes, const EinsumSizes& sizes);

// The gradients of the operands by that of the result: dP_{k-1} = dP_k O_k, dO_k = dP_k P_{k-1}, with the running product
// P_k = P_{k-1} O_k, summed over the letters that each lacks.
std::vector<EinsumTerm> einsum_backward(const std::vector<EinsumTerm>& operands, EinsumTerm gradient,
                                        const EinsumSizes& sizes);

}  // namespace rubricate
