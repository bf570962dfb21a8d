#include "adapter/plan.h"

#include "doctest/doctest.h"
#include "tests/red_plan.h"
#include "tests/test_model.h"

using namespace rubricate;
using namespace rubricate::testing;

namespace {

const Architecture& architecture() {
  static const Architecture made = Architecture::parse(tiny_json({}));
  return made;
}

const std::string kVectors =
    R"({"parameters":[{"name":"s","shape":[24],"start":1},{"name":"b","shape":[24],"start":0}],"sites":)";

// What parsing and fitting throws: the code, then the message.
std::pair<std::string, std::string> refusal(const std::string& json) {
  return thrown([&] { AdapterPlan::parse(json).require_fits(architecture()); });
}

}  // namespace

TEST_CASE("a plan is read as it is written") {
  const AdapterPlan red = AdapterPlan::parse(
      R"({"parameters":[{"name":"layers.0.mlp.down_proj.scale","shape":[24],"start":1},
                        {"name":"layers.0.mlp.down_proj.bias","shape":[24],"start":0}],
          "sites":[{"layer":0,"site":"down_proj","scale":0,"bias":1}]})");
  CHECK(red == red_plan(architecture(), RedVariant::all, {Site::down_proj}, {0}));
  CHECK(red.count == 48);
  CHECK(!red.has_norm());
  const AdapterPlan low_rank = AdapterPlan::parse(
      R"({"parameters":[{"name":"A","shape":[3,24],"start":0},{"name":"B","shape":[12,3],"start":0}],
          "sites":[{"layer":2,"site":"k_proj","low_rank":{"a":0,"b":1,"factor":0.5}}]})");
  low_rank.require_fits(architecture());
  CHECK(low_rank.sites[0].has_low_rank());
  CHECK(low_rank.rank(low_rank.sites[0]) == 3);
  CHECK(low_rank.sites[0].factor == 0.5f);
  CHECK(low_rank.offset(1) == 72);
  const AdapterPlan input = AdapterPlan::parse(
      R"({"parameters":[{"name":"s","shape":[40],"start":1}],
          "sites":[{"layer":1,"site":"down_proj","input_scale":0}]})");
  input.require_fits(architecture());
  CHECK(input.sites[0].scales_input());
  CHECK(!input.sites[0].edits());
}

TEST_CASE("a plan gives the norms of the model their own vectors, the final one as one of a layer more") {
  const AdapterPlan norms = AdapterPlan::parse(
      R"({"parameters":[{"name":"a","shape":[24],"start":1,"decays":false},{"name":"b","shape":[24],"start":1}],
          "sites":[{"layer":3,"site":"input_layernorm","own":{"weight":0}},
                   {"layer":2,"site":"post_attention_layernorm","own":{"weight":1}}]})");
  norms.require_fits(architecture());
  CHECK(norms.sites[0].replaces());
  CHECK(!norms.parameters[0].decays);
  CHECK(norms.parameters[1].decays);
  CHECK(!norms.has_norm());
}

TEST_CASE("a plan that does not fit is refused with its place") {
  const struct {
    std::string json;
    const char *code, *part;
  } cases[] = {
      {"[]", "ERR_ARGUMENT", "plan"},
      {R"({"parameters":[],"sites":[]})", "ERR_ARGUMENT", "at least one parameter"},
      {R"({"parameters":[{"name":"s","shape":[0],"start":1}],"sites":[]})", "ERR_ARGUMENT", "shape"},
      {R"({"parameters":[{"name":"s","shape":[2,2,2,2],"start":1}],"sites":[]})", "ERR_ARGUMENT", "one to three sizes"},
      {R"({"parameters":[{"name":"s","shape":[24],"start":1e99}],"sites":[]})", "ERR_ARGUMENT", "finite"},
      {kVectors + R"([{"layer":0,"site":"down_proj","scale":0}]})", "ERR_ARGUMENT", "all have a place"},
      {kVectors + R"([{"layer":0,"site":"down_proj","scale":0,"bias":2}]})", "ERR_ARGUMENT", "sites[0].bias"},
      {kVectors + R"([{"layer":0,"site":"down_proj","scale":0,"bias":0}]})", "ERR_ARGUMENT", "no other place"},
      {kVectors + R"([{"layer":0,"site":"head","scale":0,"bias":1}]})", "ERR_ARGUMENT", "a site"},
      {kVectors + R"([{"layer":0,"site":"down_proj"}]})", "ERR_ARGUMENT", "at least one part"},
      {kVectors + R"([{"layer":0,"site":"down_proj","gate":0}]})", "ERR_ARGUMENT", "gate"},
      {kVectors + R"([{"layer":0,"site":"down_proj","norm":{"weight":0}}]})", "ERR_ARGUMENT", "bias"},
      {kVectors + R"([{"layer":0,"site":"o_proj","scale":0},{"layer":0,"site":"o_proj","bias":1}]})", "ERR_ARGUMENT",
       "each site of a layer once"},
      {kVectors + R"([{"layer":9,"site":"down_proj","scale":0,"bias":1}]})", "ERR_ARGUMENT", "layer 9"},
      {kVectors + R"([{"layer":3,"site":"down_proj","scale":0,"bias":1}]})", "ERR_ARGUMENT", "layer 3"},
      {kVectors + R"([{"layer":4,"site":"input_layernorm","own":{"weight":0,"bias":1}}]})", "ERR_ARGUMENT", "layer 4"},
      {kVectors + R"([{"layer":3,"site":"post_attention_layernorm","own":{"weight":0,"bias":1}}]})", "ERR_ARGUMENT",
       "layer 3"},
      {kVectors + R"([{"layer":0,"site":"input_layernorm","own":{"weight":0,"bias":1}}]})", "ERR_ARGUMENT",
       "layers.0.input_layernorm"},
      {kVectors + R"([{"layer":0,"site":"input_layernorm","scale":0,"bias":1}]})", "ERR_ARGUMENT", "own vectors"},
      {kVectors + R"([{"layer":0,"site":"o_proj","own":{"weight":0,"bias":1}}]})", "ERR_ARGUMENT", "own vectors"},
      {kVectors + R"([{"layer":0,"site":"input_layernorm","own":{}}]})", "ERR_ARGUMENT", "a weight, a bias, or both"},
      {kVectors + R"([{"layer":0,"site":"input_layernorm","own":{"scale":0}}]})", "ERR_ARGUMENT", "scale"},
      {R"({"parameters":[{"name":"s","shape":[23],"start":1}],
           "sites":[{"layer":0,"site":"input_layernorm","own":{"weight":0}}]})",
       "ERR_SHAPE", "[24]"},
      {kVectors + R"([{"layer":0,"site":"gate_proj","scale":0,"bias":1}]})", "ERR_SHAPE", "[40]"},
      {kVectors + R"([{"layer":0,"site":"down_proj","input_scale":0,"bias":1}]})", "ERR_SHAPE", "[40]"},
      {kVectors + R"([{"layer":0,"site":"q_proj","input_scale":2,"bias":1}]})", "ERR_ARGUMENT", "input_scale"},
      {kVectors + R"([{"layer":0,"site":"q_proj","low_rank":{"a":0,"b":1,"factor":1}}]})", "ERR_SHAPE", "[24, 24]"},
      {R"({"parameters":[{"name":"A","shape":[3,24],"start":0},{"name":"B","shape":[24,2],"start":0}],
           "sites":[{"layer":0,"site":"q_proj","low_rank":{"a":0,"b":1,"factor":1}}]})",
       "ERR_SHAPE", "[24, 3]"},
      {kVectors + R"([{"layer":0,"site":"q_proj","branch":[]}]})", "ERR_ARGUMENT", "1 to 32 steps"},
      {kVectors + R"([{"layer":0,"site":"q_proj","branch":[{"op":"sine"}]}]})", "ERR_ARGUMENT", "branch[0].op"},
      {kVectors + R"([{"layer":0,"site":"q_proj","branch":[{"op":"linear"}]}]})", "ERR_ARGUMENT",
       "weight or a constant"},
      {kVectors + R"([{"layer":0,"site":"q_proj","branch":[{"op":"linear","constant":0}]}]})", "ERR_ARGUMENT",
       "a plan with constants"},
      {kVectors + R"([{"layer":0,"site":"q_proj","branch":[{"op":"affine"}]}]})", "ERR_ARGUMENT", "scale or a bias"},
      {kVectors + R"([{"layer":0,"site":"q_proj","input":[{"op":"mix_initial","by":1}]}]})", "ERR_ARGUMENT", "by"},
      {kVectors +
           R"([{"layer":0,"site":"down_proj","input":[{"op":"mix_initial","by":0.5},{"op":"affine","scale":0,"bias":1}]}]})",
       "ERR_SHAPE", "as wide as the embedding's"},
      {kVectors + R"([{"layer":0,"site":"q_proj","branch":[{"op":"activation","kind":"elu"}]}]})", "ERR_ARGUMENT",
       "gelu, gelu_tanh, silu, relu or tanh"},
      {kVectors + R"([{"layer":0,"site":"q_proj","branch":[{"op":"scale","by":1e99}]}]})", "ERR_ARGUMENT", "finite"},
      {kVectors + R"([{"layer":0,"site":"q_proj","bias":1,"branch":[{"op":"linear","weight":0}]}]})", "ERR_SHAPE",
       "a matrix of 24 columns"},
      {kVectors + R"([{"layer":0,"site":"q_proj","bias":1,"branch":[{"op":"affine","bias":1}]}]})", "ERR_ARGUMENT",
       "no other place"},
      {kVectors + R"([{"layer":0,"site":"down_proj","branch":[{"op":"affine","scale":0,"bias":1}]}]})", "ERR_SHAPE",
       "a vector of 40"},
      {kVectors + R"([{"layer":0,"site":"k_proj","branch":[{"op":"affine","scale":0,"bias":1}]}]})", "ERR_SHAPE",
       "end with rows of 12 but received 24"},
      {R"({"parameters":[{"name":"A","shape":[3,24],"start":0}],
           "sites":[{"layer":0,"site":"q_proj","output":[{"op":"linear","weight":0},{"op":"residual"}]}]})",
       "ERR_SHAPE", "as wide as the input"},
      {R"({"parameters":[{"name":"A","shape":[2,3,8],"start":0}],
           "sites":[{"layer":0,"site":"q_proj","input":[{"op":"block_linear","weight":0}]}]})",
       "ERR_SHAPE", "n * in = 24"},
      {kVectors + R"([{"layer":0,"site":"q_proj","bias":1,"sparse":{"values":0,"index":0}}]})", "ERR_ARGUMENT",
       "a plan with indices"},
      {R"({"parameters":[],"sites":[],"indices":[{"name":"i","shape":[2,2],"count":3}]})", "ERR_ARGUMENT",
       "Expected 3 numbers for the plan's indices but received 0"},
      {R"({"parameters":[],"sites":[],"constants":[{"name":"c","shape":[2,2]}]})", "ERR_ARGUMENT",
       "Expected 4 numbers for the plan's constants"},
      {kVectors + R"([{"layer":0,"site":"q_proj","bias":{"derived":0}}]})", "ERR_ARGUMENT",
       "a plan with derived values"},
  };
  for (const auto& [json, code, part] : cases) {
    CAPTURE(json);
    const auto [thrown_code, message] = refusal(json);
    CHECK(thrown_code == code);
    CHECK_MESSAGE(contains(message, part), message);
  }
}

TEST_CASE("derived values that do not fit are refused with their place") {
  const std::string unit = R"({"name":"u","kind":"unit","of":0,"shape":[2,12]})";
  const auto einsum = [](const std::string& operands, const std::string& rest) {
    return R"({"name":"e","kind":"einsum","operands":[)" + operands + "]," + rest + "}";
  };
  const std::string whole = R"({"of":0,"axes":"ab"})", shape = R"("axes":"ab","shape":[2,12])";
  const struct {
    std::string derived, part;
  } cases[] = {
      {R"({"name":"u","kind":"sum","of":0,"shape":[2,12]})", "derived[0].kind"},
      {R"({"name":"u","kind":"unit","of":0,"shape":[2,12],"axes":"ab"})", "axes"},
      {R"({"name":"u","kind":"unit","of":1,"shape":[2,12]})", "derived[0].of"},
      {R"({"name":"u","kind":"unit","of":{"derived":0},"shape":[2,12]})", "an earlier derived value"},
      {R"({"name":"u","kind":"unit","of":{"derived":9},"shape":[2,12]})", "derived[0].of.derived"},
      {R"({"name":"u","kind":"unit","of":{"constant":0},"shape":[2,12]})", "a plan with constants"},
      {R"({"name":"u","kind":"unit","of":{"row":0},"shape":[2,12]})", "row"},
      {R"({"name":"u","kind":"unit","of":0,"shape":[12,2]})", "[2, 12], by the shape of `of`"},
      {R"({"name":"u","kind":"unit","of":0,"shape":[2,12],"transposed":true})", "[2, 12], by the shape of `of`"},
      {R"({"name":"u","kind":"unit","of":0,"shape":[24],"transposed":true})", "two axes or more"},
      {R"({"name":"u","kind":"unit","of":0,"shape":[2,12],"factors":[1]})", "a factor for each row"},
      {R"({"name":"u","kind":"unit","of":0,"shape":[2,12],"factors":[1,1e99]})", "derived[0].factors[1]"},
      {R"({"name":"u","kind":"activation","of":0,"shape":[2,12],"activation":"elu"})", "gelu, gelu_tanh"},
      {R"({"name":"u","kind":"activation","of":0,"shape":[24],"activation":"relu"})", "[2, 12], by the shape"},
      {R"({"name":"u","kind":"unit","of":0,"shape":[16777216,16777216]})", "at most 67108864 elements"},
      {einsum("", shape), "1 to 16 operands"},
      {einsum(R"({"of":0,"axes":"a"})", shape), "2 letters, one for each axis of shape [2, 12]"},
      {einsum(R"({"of":0,"axes":"aa"})", shape), "letters a to z, each once"},
      {einsum(R"({"of":0,"axes":"aB"})", shape), "letters a to z, each once"},
      {einsum(whole + R"(,{"of":0,"axes":"ba"})", shape), "one size each, 12 for b"},
      {einsum(R"({"of":0,"axes":"a","row":2})", shape), "derived[0].operands[0].row"},
      {einsum(whole, R"("axes":"ac","shape":[2,12])"), "letters of the operands, not c"},
      {einsum(whole, R"("axes":"ab","shape":[2,11])"), "24 elements, as the axes have"},
      {einsum(
           whole +
               R"(,{"of":0,"axes":"cd"},{"of":0,"axes":"ef"},{"of":0,"axes":"gh"},{"of":0,"axes":"ij"},{"of":0,"axes":"kl"})",
           R"("axes":"","shape":[1])"),
       ""},
      {einsum(
           R"({"of":0,"axes":"ab"},{"of":0,"axes":"cd"},{"of":0,"axes":"ef"},{"of":0,"axes":"gh"},{"of":0,"axes":"ij"},{"of":0,"axes":"kl"},{"of":0,"axes":"bdfhjl"})",
           R"("axes":"a","shape":[2])"),
       "2 letters"},
  };
  const auto plan = [](const std::string& derived, const std::string& bias) {
    return R"({"parameters":[{"name":"p","shape":[2,12],"start":0}],"derived":[)" + derived +
           R"(],"sites":[{"layer":0,"site":"k_proj","branch":[{"op":"linear","weight":{"derived":0}}])" + bias + "}]}";
  };
  for (const auto& [derived, part] : cases) {
    CAPTURE(derived);
    const auto [code, message] = refusal(plan(derived, ""));
    CHECK(code == (part.empty() ? "ERR_SHAPE" : "ERR_ARGUMENT"));
    CHECK_MESSAGE(contains(message, part), message);
  }
  const auto [code, message] = refusal(plan(unit + "," + unit, R"(,"bias":{"derived":1})"));
  CHECK(code == "ERR_SHAPE");
  CHECK_MESSAGE(contains(message, "[12] for u but received [2, 12]"), message);
  CHECK(contains(refusal(plan(unit + "," + unit, "")).second, "that all have a place"));
  CHECK(contains(refusal(plan(unit, R"(,"bias":{"derived":0})")).second, "no other place"));
}

TEST_CASE("products with the base's weights that do not fit are refused") {
  const auto refused = [](const std::string& fields, const std::string& shape = "[2,24]",
                          const std::string& of = "[2,24]") {
    return refusal(concat(R"({"parameters":[{"name":"p","shape":)", of,
                          R"(,"start":0}],"derived":[{"name":"f","kind":"weight_product","of":0,"shape":)", shape, ",",
                          fields, R"(}],"sites":[{"layer":0,"site":"q_proj","branch":[
                             {"op":"linear","weight":{"derived":0}},{"op":"linear","weight":{"derived":0}}]}]})"));
  };
  const std::string at = R"("layer":0,"site":)", q = R"("layer":0,"site":"q_proj","along":"inputs")";
  const struct {
    std::pair<std::string, std::string> refusal;
    const char *code, *part;
  } cases[] = {
      {refused(R"("layer":3,"site":"q_proj","along":"inputs")"), "ERR_ARGUMENT", "the weight of layer 3 for f"},
      {refused(at + R"("head","along":"inputs")"), "ERR_ARGUMENT", "a linear layer"},
      {refused(at + R"("input_layernorm","along":"inputs")"), "ERR_ARGUMENT", "a linear layer"},
      {refused(at + R"("q_proj","along":"rows")"), "ERR_ARGUMENT", "inputs or outputs"},
      {refused(at + R"("q_proj")"), "ERR_ARGUMENT", "along"},
      {refused(q + R"(,"axes":"ab")"), "ERR_ARGUMENT", "axes"},
      {refused(q, "[2,24]", "[48]"), "ERR_ARGUMENT", "a matrix, not shape [48]"},
      {refused(q, "[3,24]"), "ERR_ARGUMENT", "a matrix of 2 rows, as `of` has"},
      {refused(q + R"(,"transposed":true)"), "ERR_ARGUMENT", "a matrix of 2 rows"},
      {refused(q, "[2,12]"), "ERR_SHAPE", "shape [2, 24] for it, but received [2, 24] and [2, 12]"},
      {refused(q, "[2,24]", "[2,12]"), "ERR_SHAPE", "a matrix [rows, 24] of which f is made"},
      {refused(at + R"("k_proj","along":"outputs")"), "ERR_SHAPE", "a matrix [rows, 12] of which f is made"},
  };
  for (const auto& [refusal, code, part] : cases) {
    CAPTURE(part);
    CHECK(refusal.first == code);
    CHECK_MESSAGE(contains(refusal.second, part), refusal.second);
  }
}

TEST_CASE("products of derived values are bounded") {
  const auto refused = [](int64_t size) {
    return refusal(concat(R"({"parameters":[{"name":"p","shape":[8192,)", size, R"(],"start":0}],
        "derived":[{"name":"e","kind":"einsum","operands":[{"of":0,"axes":"ab"},{"of":0,"axes":"ac"}],"axes":"bc","shape":[)",
                          size, ",", size, R"(]}],
        "sites":[{"layer":0,"site":"k_proj","branch":[{"op":"linear","weight":{"derived":0}}]}]})"))
        .second;
  };
  CHECK(contains(refused(91), "at most 67108864 multiplications"));
  CHECK(!contains(refused(90), "multiplications"));
}

TEST_CASE("a plan with derived values is read as it is written") {
  const AdapterPlan plan = AdapterPlan::parse(
      R"({"parameters":[{"name":"p","shape":[2,1,12],"start":0}],
          "derived":[{"name":"u","kind":"unit","of":0,"shape":[2,1,12]},
                     {"name":"f","kind":"unit","of":0,"factors":[-2],"transposed":true,"shape":[2,12,1]}],
          "sites":[{"layer":0,"site":"q_proj","input":[{"op":"block_linear","weight":{"derived":0}},
                    {"op":"block_linear","weight":{"derived":1}},{"op":"residual"}]}]})");
  plan.require_fits(architecture());
  CHECK(plan.count == 24);
  CHECK(plan.total() == 72);
  CHECK(plan.name(2) == "f");
  CHECK(plan.shape(2) == Shape{2, 12, 1});
  CHECK(plan.offset(2) == 48);
  AdapterPlan other = plan;
  other.derived[1].factors[0] = -1.0f;
  CHECK(!(plan == other));
}

TEST_CASE("steps may share a parameter, and constants belong to a plan's identity") {
  const std::string json =
      R"({"parameters":[{"name":"A","shape":[24,2],"start":0}],"constants":[{"name":"c","shape":[2,24]}],
          "sites":[{"layer":0,"site":"q_proj","branch":[{"op":"linear","constant":0},{"op":"linear","weight":0}]},
                   {"layer":1,"site":"q_proj","branch":[{"op":"linear","constant":0},{"op":"linear","weight":0}]}]})";
  const AdapterPlan plan = AdapterPlan::parse(json, std::vector<float>(48, 0.5f));
  plan.require_fits(architecture());
  CHECK(plan.count == 48);
  CHECK(plan == AdapterPlan::parse(json, std::vector<float>(48, 0.5f)));
  CHECK(!(plan == AdapterPlan::parse(json, std::vector<float>(48, 0.25f))));
  CHECK(thrown([&] { AdapterPlan::parse(json, std::vector<float>(48, INFINITY)); }).first == "ERR_NOT_FINITE");
}

TEST_CASE("a sparse update has an index of its own matrix, which equal plans share") {
  const auto json = [](const std::string& shape, int64_t count, int64_t values) {
    return concat(R"({"parameters":[{"name":"v","shape":[)", values, R"(],"start":0}],"indices":[{"name":"i","shape":)",
                  shape, R"(,"count":)", count,
                  R"(}],"sites":[{"layer":0,"site":"k_proj","sparse":{"values":0,"index":0}}]})");
  };
  const auto made = [&](const std::string& shape, int64_t values, const std::vector<int32_t>& indices) {
    AdapterPlan plan = AdapterPlan::parse(json(shape, static_cast<int64_t>(indices.size()), values), {}, indices);
    plan.require_fits(architecture());
    return plan;
  };
  const AdapterPlan plan = made("[12,24]", 3, {0, 25, 287});
  CHECK(plan.sites[0].has_sparse());
  CHECK(plan.indices[0].index->indices() == std::vector<int32_t>{0, 25, 287});
  CHECK(plan == made("[12,24]", 3, {0, 25, 287}));
  CHECK(!(plan == made("[12,24]", 3, {0, 25, 286})));
  const auto shared = shared_plan(made("[12,24]", 3, {0, 25, 287}));
  CHECK(shared_plan(made("[12,24]", 3, {0, 25, 287})) == shared);
  const auto refused = [&](const std::string& shape, int64_t values, const std::vector<int32_t>& indices) {
    return thrown([&] { made(shape, values, indices); });
  };
  CHECK(refused("[24,12]", 3, {0, 25, 287}).first == "ERR_SHAPE");
  CHECK(refused("[12,24]", 4, {0, 25, 287}).first == "ERR_SHAPE");
  CHECK(refused("[12]", 3, {0, 1, 2}).first == "ERR_ARGUMENT");
  CHECK(contains(refused("[12,24]", 3, {0, 25, 25}).second, "ascending numbers, each once, for i"));
  CHECK(contains(refused("[12,24]", 3, {0, 25, 288}).second, "numbers from 0 to 287 for i"));
  CHECK(contains(refused("[12,24]", 3, {-1, 25, 28}).second, "numbers from 0 to 287 for i"));
}
