// The engine against a forward of the whole sequence for each token, which caches no keys and values.
#include "doctest/doctest.h"
#include "model/logits.h"
#include "tests/serve_support.h"

using namespace rubricate;
using namespace rubricate::testing;
using Kind = EngineOutputs::Kind;

namespace {

std::vector<int32_t> forwarded(const Model& model, const std::shared_ptr<Adapter>& adapter,
                               const EngineRequest& request) {
  const JobControl control{nullptr, {}, device_arena()};
  std::vector<int32_t> tokens = request.prompt, text;
  TokenCounts counts;
  counts.add_prompt(tokens.data(), static_cast<int64_t>(tokens.size()));
  for (int32_t i = 0; i < request.max_new; ++i) {
    const auto length = static_cast<int32_t>(tokens.size());
    const Batch batch = fitting_batch({tokens, {0, length}, {adapter ? 1 : 0}, {}});
    const Tensor logits = forward_logits(model, batch, {adapter}, {length - 1}, control);
    text.push_back(sample_token(logits.data<float>(), logits.cols(), request.sampling, counts, tokens.size()));
    tokens.push_back(text.back());
    counts.add_generated(text.back());
  }
  return text;
}

struct OnDevice {
  OnDevice() { present_device() = test_stream(); }
  ~OnDevice() { present_device() = nullptr; }
};

}  // namespace

TEST_CASE("an engine answers as forwards of the whole do: alone and together, over versions of several layouts") {
  on_every_path([] {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      const std::shared_ptr<const Model> model = tiny_model({}, dtype, dtype);
      struct Case {
        std::shared_ptr<Adapter> adapter;
        EngineRequest request;
      };
      std::vector<Case> cases;
      const auto add = [&](const std::shared_ptr<Adapter>& adapter, int64_t length, bool draws) {
        EngineRequest request;
        request.prompt = tiny_tokens(length, static_cast<uint64_t>(length));
        if (adapter) request.version = AdapterVersion::of(*adapter);
        request.max_new = 20;
        if (draws) {
          request.sampling.temperature = 0.9f;
          request.sampling.repetition_penalty = 1.2f;
          request.sampling.seed = static_cast<uint64_t>(length);
        }
        cases.push_back({adapter, std::move(request)});
      };
      add(nullptr, 5, false);
      add(random_adapter(*model, RedVariant::all, 1), 70, true);
      add(random_adapter(*model, RedVariant::scale, 2, {Site::down_proj, Site::v_proj}), 64, false);
      add(random_adapter(*model, RedVariant::ln, 3), 9, true);
      add(random_adapter(*model, RedVariant::bias, 4, {Site::q_proj, Site::up_proj}), 1, true);
      add(random_adapter(*model, RedVariant::ln, 5, {Site::o_proj}), 130, false);
      add(random_adapter(*model, RedVariant::ln, 6), 20, false);

      Served together(model);
      std::vector<int32_t> ids;
      for (const Case& one : cases) ids.push_back(together.engine->submit(one.request));
      together.run();
      for (size_t i = 0; i < cases.size(); ++i) {
        CAPTURE(i);
        const auto& request = cases[i].request;
        const auto expected = forwarded(*model, cases[i].adapter, request);
        CHECK(alone(model, request).ids == expected);
        CHECK(together.answer(ids[i]).ids == expected);
        CHECK(together.answer(ids[i]).end == Kind::length);
      }
      CHECK(together.engine->stats().generated_tokens == 20 * 7);
      CHECK(together.engine->stats().free_pages + together.engine->stats().cached_pages == 64);
    }
  });
}

TEST_CASE(
    "an engine on a device answers as forwards of the whole do there, with few and with many versions in a step") {
  if (!test_stream()) return;
  const OnDevice scope;
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const std::shared_ptr<const Model> model = tiny_model({}, dtype, dtype);
    for (const int count : {3, 11}) {  // up to 8 slots fit in a kernel's arguments
      CAPTURE(count);
      EngineOptions options;
      options.version_bytes = 2000;  // of few versions
      Served together(model, std::move(options));
      std::vector<int32_t> ids;
      std::vector<std::vector<int32_t>> expected;
      for (int i = 0; i < count; ++i) {
        const auto seed = static_cast<uint64_t>(i);
        const auto variant = i % 4 == 1 ? RedVariant::ln : i % 4 == 2 ? RedVariant::scale : RedVariant::all;
        const auto adapter = i == 0 ? nullptr
                                    : random_adapter(*model, variant, seed,
                                                     i % 2 == 0 ? all_sites() : std::vector<Site>{Site::down_proj});
        EngineRequest request;
        request.prompt = tiny_tokens(i == 2 ? 70 : 3 + i, 1);
        request.max_new = 3;
        request.sampling.temperature = i % 3 == 0 ? 0.7f : 0.0f;
        if (adapter) request.version = AdapterVersion::of(*adapter);
        expected.push_back(forwarded(*model, adapter, request));
        ids.push_back(together.engine->submit(std::move(request)));
      }
      together.run();
      for (int i = 0; i < count; ++i) {
        CAPTURE(i);
        CHECK(together.answer(ids[static_cast<size_t>(i)]).ids == expected[static_cast<size_t>(i)]);
      }
      CHECK(together.engine->stats().device_version_bytes <= 2000);
    }
  }
}

TEST_CASE("an engine on a device scores tokens as a generation there tells their log-probabilities") {
  if (!test_stream()) return;
  const OnDevice scope;
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const std::shared_ptr<const Model> model = tiny_model({}, dtype, dtype);
    Served served(model);
    for (const auto& version :
         {std::shared_ptr<const AdapterVersion>(), AdapterVersion::of(*random_adapter(*model, RedVariant::all, 1))}) {
      EngineRequest request;
      request.prompt = tiny_tokens(12, 1);
      request.version = version;
      request.max_new = 4;
      request.top_log_probs = 3;
      const int32_t generated = served.engine->submit(request);
      served.run();
      const Answer answer = served.answer(generated);
      request.prompt.insert(request.prompt.end(), answer.ids.begin(), answer.ids.end());
      request.score_from = 12;
      request.max_new = 0;
      const int32_t one = served.engine->submit(request), two = served.engine->submit(request);
      served.run();
      CHECK(answer.log_probs.size() == 4);
      CHECK(served.answer(one).scores == answer.log_probs);
      CHECK(answer.tops.size() == 4 * 2 * 3);
      CHECK(served.answer(one).score_tops == answer.tops);
      CHECK(served.answer(two).scores == answer.log_probs);
    }
  }
}
