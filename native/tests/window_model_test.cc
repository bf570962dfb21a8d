// A model whose layers have a sliding window, or some of them.
#include "doctest/doctest.h"
#include "model/logits.h"
#include "tests/decoding.h"
#include "tests/step_support.h"

using namespace rubricate;
using namespace rubricate::testing;

namespace {

JobControl control() { return {nullptr, {}, test_arena()}; }

TinyConfig with(const std::string& window) {
  TinyConfig config;
  config.window = window;
  return config;
}

Tensor last_logits(const Model& model, const std::vector<int32_t>& tokens) {
  const auto n = static_cast<int32_t>(tokens.size());
  return forward_logits(model, fitting_batch({tokens, {0, n}, {0}, {}}), {}, {n - 1}, control());
}

const char* const kWindows[] = {R"("window":9)", R"("window":9,"window_layers":[0,2])", R"("window":70)"};

}  // namespace

TEST_CASE("window: a token's logits depend on the tokens that the windows of all layers reach, and on no others") {
  struct Case {
    const char* window;
    int64_t reach;
  };
  const Case cases[] = {{R"("window":5)", 12}, {R"("window":5,"window_layers":[0,1,2])", 12}, {R"("window":1)", 0}};
  for (const auto& [window, reach] : cases) {
    const auto model = tiny_model(with(window));
    const auto tokens = tiny_tokens(40, 5);
    const Tensor own = last_logits(*model, tokens);
    const auto changed = [&](int64_t at) {
      auto other = tokens;
      int32_t& token = other[static_cast<size_t>(at)];
      token = (token + 1) % 61;
      return last_logits(*model, other);
    };
    for (const int64_t at : {int64_t{0}, int64_t{39 - reach - 1}}) CHECK(same_bits(changed(at), own));
    CHECK(!same_bits(changed(39 - reach), own));
  }
  const auto mixed = tiny_model(with(R"("window":5,"window_layers":[0,2])"));
  auto tokens = tiny_tokens(40, 5);
  const Tensor own = last_logits(*mixed, tokens);
  tokens[0] = (tokens[0] + 1) % 61;
  CHECK(!same_bits(last_logits(*mixed, tokens), own));
}

TEST_CASE("window: decoded tokens are those of the whole sequence, for any split of the prompt, alone and in a batch") {
  for (const char* const window : kWindows)
    for (const DType dtype : {DType::f32, DType::bf16}) {
      CAPTURE(window);
      const std::shared_ptr<const Model> model = tiny_model(with(window), dtype, dtype);
      SamplingOptions sampling;
      sampling.temperature = 0.8f;
      sampling.seed = 4;
      const auto prompt = tiny_tokens(130, 5);
      auto whole = prompt;
      for (int i = 0; i < 12; ++i) {
        const Tensor logits = last_logits(*model, whole);
        whole.push_back(sample_token(logits.data<float>(), logits.cols(), sampling, {}, whole.size()));
      }
      for (const int32_t chunk : {7, 256}) {
        Decoding decoding(model);
        decoding.add(tiny_tokens(40, 9), nullptr, sampling);
        decoding.add(prompt, nullptr, sampling);
        auto text = prompt;
        while (text.size() < whole.size()) text.push_back(decoding.step(chunk).back());
        CHECK(text == whole);
      }
    }
}

TEST_CASE("window: a recomputed step has the same bits as a stored one, and packed sequences those of each alone") {
  for (const char* const window : kWindows)
    for (const DType dtype : {DType::f32, DType::bf16}) {
      CAPTURE(window);
      auto model = tiny_model(with(window), dtype, dtype);
      const Tenant tenant = tenant_of(random_adapter(*model, RedVariant::all, 5));
      const auto s1 = tiny_tokens(70, 1), s2 = tiny_tokens(9, 2);
      const std::vector<MicroBatch> packed = {tiny_batch({s1, s2}, {1, 1})};
      const auto stored = gradients(*model, tenant, packed, false);
      check_same(stored, gradients(*model, tenant, packed, true));
      check_same(stored, gradients(*model, tenant, {tiny_batch({s1}, {1}), tiny_batch({s2}, {1})}, false));
    }
}

TEST_CASE("window: the layers that have it, and values that are refused") {
  const auto of = [](const std::string& window) {
    const auto attention = Architecture::parse(tiny_json(with(window))).stack.attention;
    return std::vector<int64_t>{attention.window_of(0), attention.window_of(1), attention.window_of(2)};
  };
  CHECK(of("") == std::vector<int64_t>{0, 0, 0});
  CHECK(of(R"("window":7)") == std::vector<int64_t>{7, 7, 7});
  CHECK(of(R"("window":7,"window_layers":[1])") == std::vector<int64_t>{0, 7, 0});
  CHECK(of(R"("window":7,"window_layers":[0,1,2])") == std::vector<int64_t>{7, 7, 7});
  for (const char* const window :
       {R"("window":0)", R"("window":-1)", R"("window":1.5)", R"("window":16777217)", R"("window_layers":[1])",
        R"("window":7,"window_layers":[])", R"("window":7,"window_layers":[3])", R"("window":7,"window_layers":[1,1])",
        R"("window":7,"window_layers":[2,1])", R"("window":7,"window_layers":[-1])", R"("window":7,"window_layers":1)"})
    CHECK(error_code([&] { Architecture::parse(tiny_json(with(window))); }) == "ERR_CONFIG");
}
