// Tests each rule of a batch at its bound and past it.
#include "train/micro_batch.h"

#include <string>
#include <vector>

#include "tests/test_support.h"

using namespace rubricate;
using namespace rubricate::testing;

namespace {

// Each micro-batch as the slots and the first tokens of its sequences.
std::vector<std::string> described(const std::vector<MicroBatch>& micro_batches) {
  std::vector<std::string> texts;
  for (const MicroBatch& micro : micro_batches) {
    std::string text;
    const Batch& batch = micro.batch();
    for (size_t s = 0; s < batch.slots().size(); ++s) {
      const auto row = static_cast<size_t>(batch.starts()[s]);
      text += std::to_string(batch.slots()[s]) + ":" + std::to_string(batch.tokens()[row]) + "/" +
              std::to_string(micro.targets()[row]) + "x" + std::to_string(batch.starts()[s + 1] - batch.starts()[s]) +
              " ";
    }
    texts.push_back(text);
  }
  return texts;
}

struct Case {
  const char* name;
  BatchArrays arrays;
  const char* code;  // "" if the batch is valid
  const char* message = "";
};

const BatchBounds kBounds{.vocabulary = 10, .context = 4, .adapters = 2};

}  // namespace

TEST_CASE("each rule of a batch accepts its bound and refuses one past it") {
  const Case cases[] = {
      {"one token", {{0}, {0, 1}, {}, {}}, ""},
      {"no token", {{}, {0}, {}, {}}, "ERR_ARGUMENT", "Expected at least one token but received none"},
      {"the last id", {{9}, {0, 1}, {}, {}}, ""},
      {"an id past the last",
       {{1, 10}, {0, 2}, {}, {}},
       "ERR_ARGUMENT",
       "Expected token ids from 0 to 9 but received 10 at position 1"},
      {"an id before the first",
       {{1, -1}, {0, 2}, {}, {}},
       "ERR_ARGUMENT",
       "Expected token ids from 0 to 9 but received -1 at position 1"},
      {"no starts", {{1}, {}, {}, {}}, "ERR_ARGUMENT", "Expected sequenceStarts"},
      {"no sequence",
       {{1}, {0}, {}, {}},
       "ERR_ARGUMENT",
       "Expected sequenceStarts of at least 1 sequences but received 0"},
      {"a first start that is not 0",
       {{1, 2}, {1, 2}, {}, {}},
       "ERR_ARGUMENT",
       "Expected sequenceStarts from 0 to the number of rows (2) but received 1 to 2"},
      {"a last start before the end",
       {{1, 2}, {0, 1}, {}, {}},
       "ERR_ARGUMENT",
       "Expected sequenceStarts from 0 to the number of rows (2) but received 0 to 1"},
      {"a last start past the end",
       {{1, 2}, {0, 3}, {}, {}},
       "ERR_ARGUMENT",
       "Expected sequenceStarts from 0 to the number of rows (2) but received 0 to 3"},
      {"sequences of one token", {{1, 2}, {0, 1, 2}, {}, {}}, ""},
      {"an empty sequence",
       {{1, 2}, {0, 1, 1, 2}, {}, {}},
       "ERR_ARGUMENT",
       "Expected ascending sequenceStarts for sequences of at least 1 rows but received 1 after 1"},
      {"a start below the one before",
       {{1, 2, 3}, {0, 2, 1, 3}, {}, {}},
       "ERR_ARGUMENT",
       "Expected ascending sequenceStarts for sequences of at least 1 rows but received 1 after 2"},
      {"the first and the last slot", {{1, 2}, {0, 1, 2}, {0, 2}, {}}, ""},
      {"a slot past the adapters",
       {{1, 2}, {0, 1, 2}, {0, 3}, {}},
       "ERR_ARGUMENT",
       "Expected slots from 0 to 2 but received 3 for sequence 1"},
      {"a negative slot",
       {{1, 2}, {0, 1, 2}, {-1, 0}, {}},
       "ERR_ARGUMENT",
       "Expected slots from 0 to 2 but received -1 for sequence 0"},
      {"one slot too few",
       {{1, 2}, {0, 1, 2}, {1}, {}},
       "ERR_ARGUMENT",
       "Expected one slot for each of 2 sequences but received 1"},
      {"one slot too many",
       {{1, 2}, {0, 1, 2}, {1, 1, 1}, {}},
       "ERR_ARGUMENT",
       "Expected one slot for each of 2 sequences but received 3"},
      {"one past length too many",
       {{1}, {0, 1}, {}, {0, 0}},
       "ERR_ARGUMENT",
       "Expected one past length for each of 1 sequences but received 2"},
      {"a negative past length",
       {{1}, {0, 1}, {}, {-1}},
       "ERR_ARGUMENT",
       "Expected past lengths of 0 or more but received -1 for sequence 0"},
      {"a whole context", {{1, 2, 3, 4}, {0, 4}, {}, {}}, ""},
      {"a token past the context",
       {{1, 2, 3, 4, 5}, {0, 5}, {}, {}},
       "ERR_CONTEXT_LENGTH",
       "Expected at most 4 positions (the model's context) but received a sequence that reaches 5"},
      {"the rest of a context", {{1}, {0, 1}, {}, {3}}, ""},
      {"a past length that leaves no room", {{1}, {0, 1}, {}, {4}}, "ERR_CONTEXT_LENGTH", "that reaches 5"},
      {"the largest past length", {{1}, {0, 1}, {}, {INT32_MAX}}, "ERR_CONTEXT_LENGTH", "that reaches 2147483648"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.name);
    const auto [code, message] = thrown([&] { Batch(c.arrays, kBounds); });
    CHECK(code == c.code);
    CHECK(contains(message, c.message));
  }
}

TEST_CASE("a batch fills in missing arrays and computes its positions") {
  const Batch batch({{5, 6, 7}, {0, 1, 3}, {}, {2, 1}}, kBounds);
  CHECK(batch.slots() == std::vector<int32_t>{0, 0});
  CHECK(batch.positions() == std::vector<int32_t>{2, 1, 2});
  CHECK(Batch({{5}, {0, 1}, {}, {}}, kBounds).past() == std::vector<int32_t>{0});
}

TEST_CASE("a micro-batch needs one target for each token, from -1 to the last id") {
  const auto code = [&](std::vector<int32_t> targets) {
    return thrown([&] { MicroBatch(Batch({{1, 2}, {0, 2}, {}, {}}, kBounds), std::move(targets)); });
  };
  using Thrown = std::pair<std::string, std::string>;
  CHECK(code({-1, 9}) == Thrown{"", ""});
  CHECK(code({-2, 9}) == Thrown{"ERR_ARGUMENT", "Expected targets from -1 to 9 but received -2 at position 0"});
  CHECK(code({-1, 10}) == Thrown{"ERR_ARGUMENT", "Expected targets from -1 to 9 but received 10 at position 1"});
  CHECK(code({1}) == Thrown{"ERR_ARGUMENT", "Expected one target for each of 2 tokens but received 1"});
  CHECK(code({1, 1, 1}) == Thrown{"ERR_ARGUMENT", "Expected one target for each of 2 tokens but received 3"});
}

TEST_CASE("supervised rows and their counts by slot; a batch made for larger bounds is refused") {
  const MicroBatch micro(Batch({{1, 2, 3}, {0, 1, 3}, {2, 0}, {}}, kBounds), {7, -1, 8});
  const Supervised rows = supervised_rows(micro, {0.5, 1.0, 0.25});
  CHECK(rows.rows == std::vector<int32_t>{0, 2});
  CHECK(rows.targets == std::vector<int32_t>{7, 8});
  CHECK(rows.slots == std::vector<int32_t>{2, 0});
  CHECK(rows.weights == std::vector<float>{0.25f, 0.5f});
  CHECK(count_supervised({micro, micro}, kBounds) == std::vector<int64_t>{2, 0, 2});
  CHECK(count_supervised({micro}, {11, 5, 3}) == std::vector<int64_t>{1, 0, 1, 0});
  for (const BatchBounds& smaller : {BatchBounds{9, 4, 2}, BatchBounds{10, 3, 2}, BatchBounds{10, 4, 1}})
    CHECK(error_code([&] { count_supervised({micro}, smaller); }) == "ERR_FOREIGN");
}

TEST_CASE("sequences are split again in their order, up to the most rows, and a longer one goes alone") {
  const auto micro = [](std::vector<int32_t> first, const std::vector<int32_t>& lengths, std::vector<int32_t> slots) {
    BatchArrays arrays{{}, {0}, std::move(slots), {}};
    for (size_t s = 0; s < lengths.size(); ++s) {
      arrays.tokens.insert(arrays.tokens.end(), static_cast<size_t>(lengths[s]), first[s]);
      arrays.starts.push_back(static_cast<int32_t>(arrays.tokens.size()));
    }
    std::vector<int32_t> targets;
    for (const int32_t token : arrays.tokens) targets.push_back(token - 1);
    return MicroBatch(Batch(std::move(arrays), kBounds), std::move(targets));
  };
  const std::vector<MicroBatch> given = {micro({1, 2, 3}, {2, 1, 1}, {1, 2, 1}), micro({4, 5}, {4, 2}, {2, 1})};
  const auto split = [&](const Split& how) { return described(split_again(given, how, kBounds)); };
  using Texts = std::vector<std::string>;
  const Texts all = {"1:1/0x2 2:2/1x1 1:3/2x1 ", "2:4/3x4 1:5/4x2 "};
  CHECK(described(given) == all);
  CHECK(split({}) == all);
  CHECK(split({100, false, {}}) == all);
  CHECK(split({100, true, {}}) == Texts{all[0] + all[1]});
  CHECK(split({3, true, {}}) == Texts{"1:1/0x2 2:2/1x1 ", "1:3/2x1 ", "2:4/3x4 ", "1:5/4x2 "});
  CHECK(split({2, false, {}}) == Texts{"1:1/0x2 ", "2:2/1x1 1:3/2x1 ", "2:4/3x4 ", "1:5/4x2 "});
  CHECK(split({5, true, {}}) == Texts{"1:1/0x2 2:2/1x1 1:3/2x1 ", "2:4/3x4 ", "1:5/4x2 "});
  CHECK(split({4, false, {false, false, true}}) == Texts{"1:1/0x2 1:3/2x1 ", "1:5/4x2 "});
  CHECK(split({0, true, {false, true, true}}).empty());
}

TEST_CASE("a micro-batch has at most 256 rows while shorter jobs are under way, and no more than asked for") {
  JobControl control{nullptr, {}, test_arena()};
  CHECK(most_rows(0, control) == 0);
  CHECK(most_rows(4096, control) == 4096);
  control.wanted = [] { return false; };
  CHECK(most_rows(4096, control) == 4096);
  control.wanted = [] { return true; };
  CHECK(most_rows(0, control) == 256);
  CHECK(most_rows(4096, control) == 256);
  CHECK(most_rows(17, control) == 17);
}
