#include "base/json.h"

#include <limits>
#include <string>

#include "base/error.h"
#include "doctest/doctest.h"

using rubricate::Error;
using rubricate::Json;
using rubricate::JsonAt;
using rubricate::JsonLimits;

namespace {

Json parse(std::string_view text) { return Json::parse(text, "test.json", JsonLimits{}); }

// "CODE: message" of the exception from `body`, or "nothing".
template <typename Body>
std::string thrown(Body&& body) {
  try {
    body();
  } catch (const Error& error) {
    return std::string(error.code()) + ": " + error.what();
  }
  return "nothing";
}

}  // namespace

TEST_CASE("JSON values of every type are read") {
  const Json json =
      parse(" {\"a\": null, \"b\": [true, false, []], \"c\": {\"d\": \"x\"}, \"e\": -12.5e1,\r\n\t\"\": {}} ");
  CHECK(json.members().size() == 5);
  CHECK(json.members()[3].first == "e");
  CHECK(json.find("a")->is(Json::Type::null));
  CHECK(json.find("b")->items().size() == 3);
  CHECK(json.find("b")->items()[0].boolean());
  CHECK_FALSE(json.find("b")->items()[1].boolean());
  CHECK(json.find("c")->find("d")->string() == "x");
  CHECK(json.find("e")->number().value == -125.0);
  CHECK(json.find("")->members().empty());
  CHECK(json.find("z") == nullptr);
}

TEST_CASE("JSON numbers keep integers exact and are marked as integral or not") {
  struct Case {
    const char* text;
    double value;
    bool integral;
    int64_t integer;
  };
  const Case cases[] = {
      {"0", 0.0, true, 0},
      {"-0", -0.0, true, 0},
      {"9007199254740993", 9007199254740992.0, true, 9007199254740993},
      {"9223372036854775807", 0x1p63, true, std::numeric_limits<int64_t>::max()},
      {"-9223372036854775808", -0x1p63, true, std::numeric_limits<int64_t>::min()},
      {"9223372036854775808", 0x1p63, false, 0},
      {"4096.0", 4096.0, true, 4096},
      {"4.096e3", 4096.0, true, 4096},
      {"1e-05", 1e-5, false, 0},
      {"0.1", 0.1, false, 0},
      {"1e300", 1e300, false, 0},
      {"5e-324", 5e-324, false, 0},
  };
  for (const Case& c : cases) {
    CAPTURE(c.text);
    const Json json = parse(c.text);
    CHECK(json.number().value == c.value);
    CHECK(json.number().integral == c.integral);
    if (c.integral) CHECK(json.number().integer == c.integer);
  }
}

TEST_CASE("JSON strings: escapes, surrogate pairs, UTF-8") {
  CHECK(parse(R"("\"\\\/\b\f\n\r\t")").string() == "\"\\/\b\f\n\r\t");
  CHECK(parse(R"("\u0041\u00e9\u20AC\ud83d\ude00\u0000")").string() == std::string("Aé€😀\0", 11));
  CHECK(parse("\"é€😀\"").string() == "é€😀");
}

TEST_CASE("JSON that violates RFC 8259 is refused with the position") {
  struct Case {
    std::string text, part;
  };
  const Case cases[] = {
      {"", "a value but received the end of the text in test.json, line 1, column 1"},
      {"{\n  \"a\": tru}", "a value but received \"tru}\" in test.json, line 2, column 8"},
      {"[1 2]", "a comma or a closing bracket"},
      {"[1,]", "a value but received \"]\""},
      {"{\"a\":1,}", "a key in double quotes"},
      {"{a:1}", "a key in double quotes"},
      {"{\"a\" 1}", "a colon"},
      {"{\"a\":1", "a comma or a closing brace but received the end"},
      {"1 x", "the end of the document but received \"x\""},
      {"{}{}", "the end of the document"},
      {std::string("1\0", 2), "the end of the document"},
      {"01", "the end of the document"},
      {"-", "a digit"},
      {"+1", "a value"},
      {"1.", "a digit"},
      {".5", "a value"},
      {"1e", "a digit"},
      {"NaN", "a value"},
      {"Infinity", "a value"},
      {"1e400", "within the range of a double"},
      {"'a'", "a value"},
      {"\"a", "a closing quote"},
      {"\"a\nb\"", "an escape for a control character"},
      {"\"\\x\"", "an escape of JSON"},
      {"\"\\u12g4\"", "four hexadecimal digits"},
      {"\"\\ud800\"", "a pair of surrogates"},
      {"\"\\ud800\\u0041\"", "a pair of surrogates"},
      {"\"\\udc00\"", "a pair of surrogates"},
      {"\"\xc0\x80\"", "UTF-8"},          // overlong
      {"\"\xed\xa0\x80\"", "UTF-8"},      // a surrogate
      {"\"\xf4\x90\x80\x80\"", "UTF-8"},  // beyond U+10FFFF
      {"\"\xe2\x82\"", "UTF-8"},          // truncated
      {"\"\x80\"", "UTF-8"},
      {"\xef\xbb\xbf{}", "a value"},  // a byte order mark
      {"// c\n1", "a value"},
      {R"({"x": {"k\ney": 1, "b": 2, "k\ney": 3}})", R"(each key once but received "k\u000aey" again)"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.text);
    const std::string message = thrown([&] { parse(c.text); });
    CAPTURE(message);
    CHECK(message.find("ERR_JSON: Expected ") == 0);
    CHECK(message.find(c.part) != std::string::npos);
  }
}

TEST_CASE("JSON limits: depth, bytes, values") {
  const auto nested = [](size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  CHECK(parse(nested(65)).items().size() == 1);  // 64 levels in the outermost
  CHECK(thrown([&] { parse(nested(66)); }).find("64 levels") != std::string::npos);
  CHECK(thrown([&] { parse(std::string(1 << 19, '[')); }).find("64 levels") != std::string::npos);
  CHECK(thrown([] { Json::parse("[1]", "a", {2, 10}); }) == "ERR_JSON: Expected at most 2 bytes for a but received 3");
  CHECK(thrown([] { Json::parse("[1,2]", "a", {9, 2}); }).find("fewer values") != std::string::npos);
  CHECK(Json::parse("[1,2]", "a", {5, 3}).items().size() == 2);
}

TEST_CASE("JsonAt's errors name the value and its path") {
  const Json json = parse(R"({"attention": {"heads": "8", "scales": [1, "x"]}, "eps": 1e-5, "n": 3, "off": null})");
  const JsonAt at(json, "", "ERR_CONFIG");
  CHECK(at["eps"].number() == 1e-5);
  CHECK(at["n"].integer() == 3);
  CHECK(at["attention"]["scales"].size() == 2);
  CHECK(at["attention"]["scales"].at(0).integer(1, 1) == 1);
  CHECK_FALSE(at.has("off"));
  CHECK_FALSE(at.has("none"));
  CHECK(at.has("n"));
  CHECK(thrown([&] { at["attention"]["heads"].number(); }) ==
        "ERR_CONFIG: Expected a number for attention.heads but received the string \"8\"");
  CHECK(thrown([&] { at["attention"]["scales"].at(1).integer(); }) ==
        "ERR_CONFIG: Expected an integer for attention.scales[1] but received the string \"x\"");
  CHECK(thrown([&] { at["n"].integer(4); }) == "ERR_CONFIG: Expected an integer of 4 or more for n but received 3");
  CHECK(thrown([&] { at["n"].integer(0, 2); }) == "ERR_CONFIG: Expected an integer from 0 to 2 for n but received 3");
  CHECK(thrown([&] { at["eps"].integer(); }) == "ERR_CONFIG: Expected an integer for eps but received 1e-05");
  CHECK(thrown([&] { at["none"]; }) == "ERR_CONFIG: Expected a value for none but there is none");
  CHECK(thrown([&] { at["n"]["x"]; }) == "ERR_CONFIG: Expected an object for n but received 3");
  CHECK(thrown([&] { at["n"].boolean(); }) == "ERR_CONFIG: Expected true or false for n but received 3");
  CHECK(thrown([&] { at["attention"].string(); }) ==
        "ERR_CONFIG: Expected a string for attention but received an object");
  CHECK(thrown([&] { at["attention"]["scales"].at(2); }).find("an index below 2 for attention.scales") !=
        std::string::npos);
  CHECK(thrown([&] { at["attention"].expect_only({"heads"}); }) ==
        "ERR_CONFIG: Unknown member \"scales\" in attention");
  at["attention"].expect_only({"scales", "heads"});
  CHECK(thrown([&] { JsonAt(json, "config.json", "ERR_JSON")["eps"].string(); }) ==
        "ERR_JSON: Expected a string for config.json: eps but received 1e-05");
}

TEST_CASE("quoted text is escaped and truncated at a character boundary") {
  CHECK(rubricate::json_quote("a\"\\\x1b\n") == R"("a\"\\\u001b\u000a")");
  const std::string quoted = rubricate::json_quote(std::string(79, 'a') + "€€");
  CHECK(quoted == "\"" + std::string(79, 'a') + "...\"");
}
