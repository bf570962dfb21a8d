// How often each token occurs in a sequence. It stays with the sequence and grows by one for each token, so a step
// copies and scans no text.
#pragma once

#include <cstdint>
#include <unordered_map>

namespace rubricate {

class TokenCounts {
 public:
  // Tokens of the prompt: the repetition penalty sees them, the frequency and presence penalties do not.
  void add_prompt(const int32_t* ids, int64_t count) {
    for (int64_t i = 0; i < count; ++i) generated_.try_emplace(ids[i], 0);
  }
  void add_generated(int32_t id) { ++generated_[id]; }

  // Distinct ids.
  int64_t size() const { return static_cast<int64_t>(generated_.size()); }
  // Calls visit(id, times generated) once for each id that occurs, in any order.
  template <typename Visit>
  void each(const Visit& visit) const {
    for (const auto& [id, generated] : generated_) visit(id, generated);
  }

 private:
  std::unordered_map<int32_t, int32_t> generated_;
};

}  // namespace rubricate
