#include "base/json.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/json_number.h"
#include "base/utf8.h"

namespace rubricate {
namespace {

constexpr int kMaxDepth = 64;

bool is_digit(char c) { return c >= '0' && c <= '9'; }

}  // namespace

class JsonParser {
 public:
  JsonParser(std::string_view text, const std::string& name, const JsonLimits& limits)
      : text_(text), name_(name), values_left_(limits.values) {}

  Json document() {
    const size_t bad = find_invalid_utf8(text_);
    if (bad != std::string_view::npos) fail_at(bad, "Expected UTF-8 text");
    skip_space();
    Json value = parse_value(0);
    skip_space();
    if (at_ != text_.size()) fail_here("the end of the document");
    return value;
  }

 private:
  [[noreturn]] void fail_at(size_t place, const std::string& what) const {
    int64_t line = 1, column = 1;
    for (size_t i = 0; i < place; ++i) {
      ++column;
      if (text_[i] == '\n') {
        ++line;
        column = 1;
      }
    }
    fail("ERR_JSON", what, " in ", name_, ", line ", line, ", column ", column);
  }
  [[noreturn]] void fail_here(const std::string& expected) const {
    fail_at(at_, "Expected " + expected + " but received " +
                     (at_ < text_.size() ? json_quote(text_.substr(at_, 12)) : std::string("the end of the text")));
  }

  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  bool take(char c) {
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void skip_space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\r' || text_[at_] == '\t'))
      ++at_;
  }

  Json parse_value(int depth) {
    if (depth > kMaxDepth) fail_at(at_, "Expected at most 64 levels of nesting");
    if (--values_left_ < 0) fail_at(at_, "Expected fewer values");
    Json value;
    switch (peek()) {
      case '{':
        value.value_ = parse_object(depth);
        break;
      case '[':
        value.value_ = parse_array(depth);
        break;
      case '"':
        value.value_ = parse_string();
        break;
      case 't':
      case 'f':
        value.value_ = peek() == 't';
        take_word(peek() == 't' ? "true" : "false");
        break;
      case 'n':
        take_word("null");
        break;
      default:
        value.value_ = parse_number();
    }
    return value;
  }

  void take_word(std::string_view word) {
    if (text_.substr(at_, word.size()) != word) fail_here("a value");
    at_ += word.size();
  }

  Json::Object parse_object(int depth) {
    const size_t start = at_++;
    Json::Object object;
    skip_space();
    if (take('}')) return object;
    for (;;) {
      if (peek() != '"') fail_here("a key in double quotes");
      std::string key = parse_string();
      skip_space();
      if (!take(':')) fail_here("a colon");
      skip_space();
      Json value = parse_value(depth + 1);
      object.members.emplace_back(std::move(key), std::move(value));
      skip_space();
      if (take('}')) break;
      if (!take(',')) fail_here("a comma or a closing brace");
      skip_space();
    }
    index(object, start);
    return object;
  }

  void index(Json::Object& object, size_t start) const {
    const auto& members = object.members;
    object.sorted.resize(members.size());
    for (size_t i = 0; i < members.size(); ++i) object.sorted[i] = static_cast<uint32_t>(i);
    std::sort(object.sorted.begin(), object.sorted.end(),
              [&](uint32_t a, uint32_t b) { return members[a].first < members[b].first; });
    const auto same = std::adjacent_find(object.sorted.begin(), object.sorted.end(),
                                         [&](uint32_t a, uint32_t b) { return members[a].first == members[b].first; });
    if (same != object.sorted.end())
      fail_at(start, "Expected each key once but received " + json_quote(members[*same].first) + " again");
  }

  std::vector<Json> parse_array(int depth) {
    ++at_;
    std::vector<Json> items;
    skip_space();
    if (take(']')) return items;
    for (;;) {
      items.push_back(parse_value(depth + 1));
      skip_space();
      if (take(']')) return items;
      if (!take(',')) fail_here("a comma or a closing bracket");
      skip_space();
    }
  }

  std::string parse_string() {
    const size_t start = at_++;
    std::string out;
    for (;;) {
      if (at_ >= text_.size()) fail_at(start, "Expected a closing quote for the string that begins");
      const char c = text_[at_];
      if (c == '"') {
        ++at_;
        return out;
      }
      if (static_cast<unsigned char>(c) < 0x20) fail_at(at_, "Expected an escape for a control character");
      ++at_;
      if (c == '\\')
        parse_escape(out);
      else
        out.push_back(c);
    }
  }

  void parse_escape(std::string& out) {
    const char c = peek();
    static constexpr std::string_view letters = "\"\\/bfnrt", meanings = "\"\\/\b\f\n\r\t";
    if (const size_t i = letters.find(c); at_ < text_.size() && i != std::string_view::npos) {
      ++at_;
      out.push_back(meanings[i]);
      return;
    }
    if (c != 'u') fail_here("an escape of JSON");
    const size_t start = at_ - 1;
    uint32_t code = parse_hex();
    if (code >= 0xd800 && code < 0xdc00) {
      uint32_t low = 0;
      if (text_.substr(at_, 2) == "\\u") {
        ++at_;
        low = parse_hex();
      }
      if (low < 0xdc00 || low > 0xdfff) fail_at(start, "Expected a pair of surrogates");
      code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    } else if (code >= 0xdc00 && code < 0xe000) {
      fail_at(start, "Expected a pair of surrogates");
    }
    append_utf8(out, code);
  }

  uint32_t parse_hex() {  // at the u
    ++at_;
    uint32_t code = 0;
    for (int i = 0; i < 4; ++i, ++at_) {
      const char c = peek();
      if (is_digit(c))
        code = code * 16 + static_cast<uint32_t>(c - '0');
      else if (const char lower = static_cast<char>(c | 0x20); lower >= 'a' && lower <= 'f')
        code = code * 16 + static_cast<uint32_t>(lower - 'a' + 10);
      else
        fail_here("four hexadecimal digits");
    }
    return code;
  }

  void take_digits() {
    if (!is_digit(peek())) fail_here("a digit");
    while (is_digit(peek())) ++at_;
  }

  Json::Number parse_number() {
    const size_t start = at_;
    if (!take('-') && !is_digit(peek())) fail_here("a value");
    if (!take('0')) take_digits();
    const size_t whole_end = at_;
    if (take('.')) take_digits();
    if (peek() == 'e' || peek() == 'E') {
      ++at_;
      if (!take('+')) take('-');
      take_digits();
    }
    const std::string digits(text_.substr(start, at_ - start));
    Json::Number number;
    number.value = parse_double(digits);
    if (!std::isfinite(number.value)) fail_at(start, "Expected a number within the range of a double");
    if (at_ == whole_end) {
      number.integral = parse_int64(digits, number.integer);
    } else if (std::fabs(number.value) <= 0x1p53 && number.value == std::floor(number.value)) {
      number.integral = true;
      number.integer = static_cast<int64_t>(number.value);
    }
    return number;
  }

  std::string_view text_;
  const std::string& name_;
  int64_t values_left_;
  size_t at_ = 0;
};

Json Json::parse(std::string_view text, const std::string& name, const JsonLimits& limits) {
  require(static_cast<int64_t>(text.size()) <= limits.bytes, "ERR_JSON", "Expected at most ", limits.bytes,
          " bytes for ", name, " but received ", text.size());
  return JsonParser(text, name, limits).document();
}

const char* Json::type_name() const {
  static constexpr const char* names[] = {"null", "boolean", "number", "string", "array", "object"};
  return names[value_.index()];
}

namespace {

template <typename T, typename Variant>
const T& held(const Variant& value, const char* actual, const char* wanted) {
  const T* found = std::get_if<T>(&value);
  require(found != nullptr, "ERR_INTERNAL", "Expected a JSON ", wanted, " but received ", actual);
  return *found;
}

}  // namespace

bool Json::boolean() const { return held<bool>(value_, type_name(), "boolean"); }
const Json::Number& Json::number() const { return held<Number>(value_, type_name(), "number"); }
const std::string& Json::string() const { return held<std::string>(value_, type_name(), "string"); }
const std::vector<Json>& Json::items() const { return held<std::vector<Json>>(value_, type_name(), "array"); }
const std::vector<Json::Member>& Json::members() const { return held<Object>(value_, type_name(), "object").members; }

const Json* Json::find(std::string_view key) const {
  const Object& object = held<Object>(value_, type_name(), "object");
  const auto place = std::lower_bound(object.sorted.begin(), object.sorted.end(), key,
                                      [&](uint32_t i, std::string_view k) { return object.members[i].first < k; });
  if (place == object.sorted.end() || object.members[*place].first != key) return nullptr;
  return &object.members[*place].second;
}

}  // namespace rubricate
