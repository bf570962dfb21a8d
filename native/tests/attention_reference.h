// A plain implementation of softmax attention, for tests: in double it is the reference; in float with rounded
// intermediates it is the naive computation of the precision rule.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "ops/attention/attention.h"
#include "tests/test_support.h"

namespace rubricate::testing {

struct AttentionValues {
  Doubles o, dq, dk, dv;
};

// F: the type of sums; rounded(x): x as stored between two steps. Inputs as in attention.h, dout like q. Keeps a whole
// row of scores, weights and their gradients.
template <typename F, typename Rounded>
AttentionValues reference_attention(const AttentionShape& shape, const std::vector<int32_t>& starts, const Doubles& q,
                                    const Doubles& k, const Doubles& v, const Doubles& dout, Rounded rounded) {
  const int64_t n = shape.head_dim, heads = shape.heads, kv_heads = shape.kv_heads;
  std::vector<F> dk(k.size(), 0), dv(v.size(), 0);
  AttentionValues out{Doubles(q.size()), Doubles(q.size()), {}, {}};
  const auto number = [](const Doubles& x, int64_t i) { return static_cast<F>(x[static_cast<size_t>(i)]); };
  const auto dot = [&](const Doubles& a, int64_t i, const Doubles& b, int64_t j) {
    F sum = 0;
    for (int64_t d = 0; d < n; ++d) sum += number(a, i + d) * number(b, j + d);
    return sum;
  };
  for (size_t s = 0; s + 1 < starts.size(); ++s) {
    for (int64_t t = starts[s]; t < starts[s + 1]; ++t) {
      for (int64_t h = 0; h < heads; ++h) {
        const int64_t row = (t * heads + h) * n, all = t - starts[s] + 1;
        const int64_t keys = shape.window > 0 ? std::min(all, shape.window) : all;
        const auto key = [&](int64_t j) { return ((t + 1 - keys + j) * kv_heads + h / (heads / kv_heads)) * n; };
        std::vector<F> p(static_cast<size_t>(keys)), dp(p);
        F most = -INFINITY, sum = 0, mean = 0;
        for (int64_t j = 0; j < keys; ++j) {
          p[static_cast<size_t>(j)] = rounded(static_cast<F>(shape.scale) * rounded(dot(q, row, k, key(j))));
          most = std::max(most, p[static_cast<size_t>(j)]);
        }
        for (F& x : p) sum += x = std::exp(x - most);
        for (F& x : p) x = rounded(x / sum);
        for (int64_t j = 0; j < keys; ++j) {
          dp[static_cast<size_t>(j)] = rounded(dot(dout, row, v, key(j)));
          mean += p[static_cast<size_t>(j)] * dp[static_cast<size_t>(j)];
        }
        for (int64_t d = 0; d < n; ++d) {
          F o = 0, dq = 0;
          for (int64_t j = 0; j < keys; ++j) {
            const size_t at = static_cast<size_t>(j), to = static_cast<size_t>(key(j) + d);
            const F ds = rounded(static_cast<F>(shape.scale) * rounded(p[at] * (dp[at] - mean)));
            o += p[at] * static_cast<F>(v[to]);
            dq += ds * static_cast<F>(k[to]);
            dk[to] += ds * number(q, row + d);
            dv[to] += p[at] * number(dout, row + d);
          }
          out.o[static_cast<size_t>(row + d)] = static_cast<double>(rounded(o));
          out.dq[static_cast<size_t>(row + d)] = static_cast<double>(rounded(dq));
        }
      }
    }
  }
  for (const F x : dk) out.dk.push_back(static_cast<double>(rounded(x)));
  for (const F x : dv) out.dv.push_back(static_cast<double>(rounded(x)));
  return out;
}

}  // namespace rubricate::testing
