#include "adapter/adapter_version.h"

#include <cmath>
#include <utility>

#include "adapter/resident_batch.h"
#include "device/slabs.h"
#include "doctest/doctest.h"
#include "tests/test_model.h"

using namespace rubricate;
using namespace rubricate::testing;

namespace {

const Architecture& architecture() {
  static const Architecture made = Architecture::parse(tiny_json({}));
  return made;
}

std::shared_ptr<Adapter> adapter_of(RedVariant variant, const std::vector<Site>& sites, uint64_t seed) {
  auto adapter = red_adapter(architecture(), variant, sites, {0, 2});
  randomize(*adapter, seed);
  return adapter;
}

// A site's vector in a slot, from the adapter itself.
const float* expected(const Adapter& adapter, int64_t layer, Site site, bool bias) {
  for (const AdapterPlan::SitePlan& own : adapter.plan()->sites) {
    if (own.layer != layer || own.site != site) continue;
    const Var vector = adapter.var(bias ? own.bias : own.scale);
    return vector.defined() ? vector.value().data<float>() : nullptr;
  }
  return nullptr;
}

}  // namespace

TEST_CASE("a version keeps its values while its adapter changes, and has a number of its own") {
  const auto adapter = adapter_of(RedVariant::all, all_sites(), 1);
  const auto first = AdapterVersion::of(*adapter);
  const std::vector<float> before(first->values(), first->values() + first->plan().count);
  CHECK(std::equal(before.begin(), before.end(), adapter->values().data<float>()));
  randomize(*adapter, 2);
  CHECK(std::equal(before.begin(), before.end(), first->values()));
  const auto second = AdapterVersion::of(*adapter);
  CHECK(second->id() != first->id());
  CHECK(&second->plan() == &first->plan());
  CHECK(&AdapterVersion::of(*adapter_of(RedVariant::all, all_sites(), 3))->plan() == &first->plan());
  CHECK(AdapterVersion::of(*adapter_of(RedVariant::scale, all_sites(), 1))->plan() != first->plan());
  CHECK(!std::equal(before.begin(), before.end(), second->values()));
  CHECK(second->bytes() == adapter->values().bytes());
}

TEST_CASE("a version names its first number that is not finite, by vector and place") {
  for (const RedVariant variant : {RedVariant::all, RedVariant::scale, RedVariant::bias, RedVariant::ln}) {
    const auto adapter = adapter_of(variant, {Site::down_proj, Site::q_proj}, 1);
    AdapterVersion::of(*adapter)->require_finite();
    for (Parameter& parameter : adapter->parameters()) {
      float* const values = parameter.master.data<float>();
      const int64_t last = parameter.master.count() - 1;
      const float kept = values[last];
      for (const auto& [bad, text] : {std::pair{NAN, "NaN"}, {INFINITY, "Infinity"}, {-INFINITY, "-Infinity"}}) {
        values[last] = bad;
        const auto version = AdapterVersion::of(*adapter);
        const auto [code, message] = thrown([&] { version->require_finite(); });
        CHECK(code == "ERR_NOT_FINITE");
        CHECK(message == concat("Expected a finite number for ", parameter.name, "[", last, "] but received ", text));
      }
      values[last] = kept;
    }
    adapter->parameters().back().master.data<float>()[0] = NAN;
    adapter->parameters().front().master.data<float>()[1] = INFINITY;
    const auto version = AdapterVersion::of(*adapter);
    CHECK(thrown([&] { version->require_finite(); }).second ==
          concat("Expected a finite number for ", adapter->parameters().front().name, "[1] but received Infinity"));
  }
}

TEST_CASE("versions are of their very size, apart from the memory of what comes and goes") {
  const auto adapter = adapter_of(RedVariant::all, all_sites(), 1);
  const SlabStats before = Slabs::process().stats();
  std::vector<std::shared_ptr<const AdapterVersion>> versions;
  for (int i = 0; i < 300; ++i) versions.push_back(AdapterVersion::of(*adapter));
#if !defined(__SANITIZE_ADDRESS__)
  const int64_t one = (adapter->values().bytes() + 63) / 64 * 64;
  CHECK(Slabs::process().stats().used - before.used == 300 * one);
#endif
  versions.clear();
  CHECK(Slabs::process().stats().used == before.used);
  CHECK(Slabs::process().stats().mapped == before.mapped);
}

TEST_CASE("a step's table has each distinct version once, with the vectors of its own layout") {
  const std::vector<std::shared_ptr<Adapter>> adapters = {
      adapter_of(RedVariant::all, {Site::down_proj, Site::q_proj}, 1), adapter_of(RedVariant::scale, {Site::v_proj}, 2),
      adapter_of(RedVariant::bias, {Site::down_proj}, 3)};
  std::vector<std::shared_ptr<const AdapterVersion>> versions;
  for (const auto& adapter : adapters) versions.push_back(AdapterVersion::of(*adapter));
  ResidentBatch batch(architecture());
  DeviceVersions copies(test_arena(), 0);
  for (int step = 0; step < 2; ++step) {
    batch.clear();
    CHECK(batch.slot_of(versions[1]) == 1);
    CHECK(batch.slot_of(nullptr) == 0);
    CHECK(batch.slot_of(versions[0]) == 2);
    CHECK(batch.slot_of(versions[1]) == 1);
    CHECK(batch.slot_of(versions[2]) == 3);
    CHECK(batch.slots() == 3);
    batch.place(copies, test_arena());
    const int32_t adapter_in[] = {-1, 1, 0, 2};
    for (int64_t layer = 0; layer < architecture().stack.layers; ++layer)
      for (const Site site : all_sites()) {
        const SiteParts* const parts = batch.at(layer, site);
        for (int32_t slot = 0; slot <= 3; ++slot)
          for (const bool bias : {false, true}) {
            const float* const own =
                slot == 0 ? nullptr : expected(*adapters[static_cast<size_t>(adapter_in[slot])], layer, site, bias);
            const float* const got = parts == nullptr ? nullptr : (bias ? parts->view.bias : parts->view.scale)[slot];
            REQUIRE((own == nullptr) == (got == nullptr));
            if (own != nullptr) CHECK(std::equal(own, own + parts->view.width, got));
          }
      }
  }
  CHECK(copies.uploads() == 0);
}

TEST_CASE("versions with a layer norm share a step only with their own layout, and a foreign version is refused") {
  ResidentBatch batch(architecture());
  const auto norm = AdapterVersion::of(*adapter_of(RedVariant::ln, {Site::down_proj}, 1));
  const auto same = AdapterVersion::of(*adapter_of(RedVariant::ln, {Site::down_proj}, 2));
  const auto other = AdapterVersion::of(*adapter_of(RedVariant::ln, {Site::o_proj}, 3));
  const auto plain = AdapterVersion::of(*adapter_of(RedVariant::all, {Site::down_proj}, 4));
  CHECK(batch.slot_of(norm) == 1);
  CHECK(batch.slot_of(same) == 2);
  CHECK(error_code([&] { batch.slot_of(other); }) == "ERR_INTERNAL");
  batch.clear();
  batch.slot_of(norm);
  CHECK(error_code([&] { batch.slot_of(plain); }) == "ERR_INTERNAL");
  batch.check(*norm);
  const Architecture narrow = Architecture::parse(tiny_json({.hidden = 20}));
  const Architecture shallow = Architecture::parse(tiny_json({.layers = 2}));
  CHECK(error_code([&] { ResidentBatch(narrow).check(*norm); }) == "ERR_SHAPE");
  CHECK(error_code([&] { ResidentBatch(shallow).check(*norm); }) == "ERR_ARGUMENT");
}

TEST_CASE("copies of versions on a device are made once, and the least recently used go first") {
  if (!test_stream()) return;
  const auto arena = std::make_shared<Arena>(test_stream());
  std::vector<std::shared_ptr<const AdapterVersion>> versions;
  for (uint64_t i = 0; i < 3; ++i)
    versions.push_back(AdapterVersion::of(*adapter_of(RedVariant::all, {Site::down_proj}, i)));
  DeviceVersions copies(arena, 2 * versions[0]->bytes());
  const auto use = [&](size_t i) {
    const float* const at = copies.of(versions[i]);
    std::vector<float> values(static_cast<size_t>(versions[i]->plan().count));
    test_stream()->download(values.data(), at, versions[i]->bytes());
    CHECK(std::equal(values.begin(), values.end(), versions[i]->values()));
    copies.trim();
    return copies.uploads();
  };
  CHECK(use(0) == 1);
  CHECK(use(1) == 2);
  CHECK(use(0) == 2);
  CHECK(use(2) == 3);  // 1 goes
  CHECK(use(0) == 3);
  CHECK(use(1) == 4);
  CHECK(copies.bytes() == 2 * versions[0]->bytes());
}
