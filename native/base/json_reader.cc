#include "base/json_reader.h"

#include <cmath>
#include <utility>

#include "base/error.h"
#include "base/json.h"
#include "base/json_number.h"
#include "base/utf8.h"

namespace rubricate {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

}  // namespace

JsonReader::JsonReader(std::string_view text, std::string name, int64_t values)
    : text_(text), name_(std::move(name)), values_left_(values) {
  const size_t bad = find_invalid_utf8(text_);
  if (bad != std::string_view::npos) fail_at(bad, "Expected UTF-8 text");
  skip_space();
}

void JsonReader::fail_at(size_t place, const std::string& what) const {
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

void JsonReader::fail_here(const std::string& expected) const {
  fail_at(at_, "Expected " + expected + " but received " +
                   (at_ < text_.size() ? json_quote(text_.substr(at_, 12)) : std::string("the end of the text")));
}

bool JsonReader::take(char c) {
  if (at_ >= text_.size() || text_[at_] != c) return false;
  ++at_;
  return true;
}

void JsonReader::skip_space() {
  while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\r' || text_[at_] == '\t'))
    ++at_;
}

JsonType JsonReader::next() const {
  switch (peek()) {
    case '{':
      return JsonType::object;
    case '[':
      return JsonType::array;
    case '"':
      return JsonType::string;
    case 't':
    case 'f':
      return JsonType::boolean;
    case 'n':
      return JsonType::null;
    default:
      if (peek() != '-' && !is_digit(peek())) fail_here("a value");
      return JsonType::number;
  }
}

void JsonReader::begin_value() {
  if (depth_ > limits::kMaxJsonDepth)
    fail_at(at_, concat("Expected at most ", limits::kMaxJsonDepth, " levels of nesting"));
  if (--values_left_ < 0) fail_at(at_, "Expected fewer values");
}

void JsonReader::null() {
  begin_value();
  take_word("null");
}

bool JsonReader::boolean() {
  begin_value();
  const bool value = peek() == 't';
  take_word(value ? "true" : "false");
  return value;
}

void JsonReader::take_word(std::string_view word) {
  if (text_.substr(at_, word.size()) != word) fail_here("a value");
  at_ += word.size();
}

void JsonReader::enter() {
  begin_value();
  ++at_;
  has_member_[static_cast<size_t>(++depth_)] = false;
}

void JsonReader::enter_object() {
  if (peek() != '{') fail_here("an object");
  enter();
}

void JsonReader::enter_array() {
  if (peek() != '[') fail_here("an array");
  enter();
}

bool JsonReader::next_in(char end, const char* expected) {
  skip_space();
  if (take(end)) {
    --depth_;
    return false;
  }
  auto has_member = has_member_[static_cast<size_t>(depth_)];
  if (has_member) {
    if (!take(',')) fail_here(expected);
    skip_space();
  }
  has_member = true;
  return true;
}

bool JsonReader::next_item() { return next_in(']', "a comma or a closing bracket"); }

bool JsonReader::next_member(std::string& key) {
  if (!next_in('}', "a comma or a closing brace")) return false;
  if (peek() != '"') fail_here("a key in double quotes");
  key = take_string();
  skip_space();
  if (!take(':')) fail_here("a colon");
  skip_space();
  return true;
}

void JsonReader::finish() {
  skip_space();
  if (at_ != text_.size()) fail_here("the end of the document");
}

std::string JsonReader::string() {
  if (peek() != '"') fail_here("a string");
  begin_value();
  return take_string();
}

std::string JsonReader::take_string() {
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
      take_escape(out);
    else
      out.push_back(c);
  }
}

void JsonReader::take_escape(std::string& out) {
  const char c = peek();
  static constexpr std::string_view letters = "\"\\/bfnrt", meanings = "\"\\/\b\f\n\r\t";
  if (const size_t i = letters.find(c); at_ < text_.size() && i != std::string_view::npos) {
    ++at_;
    out.push_back(meanings[i]);
    return;
  }
  if (c != 'u') fail_here("an escape of JSON");
  const size_t start = at_ - 1;
  uint32_t code = take_hex();
  if (code >= 0xd800 && code < 0xdc00) {
    uint32_t low = 0;
    if (text_.substr(at_, 2) == "\\u") {
      ++at_;
      low = take_hex();
    }
    if (low < 0xdc00 || low > 0xdfff) fail_at(start, "Expected a pair of surrogates");
    code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
  } else if (code >= 0xdc00 && code < 0xe000) {
    fail_at(start, "Expected a pair of surrogates");
  }
  append_utf8(out, code);
}

uint32_t JsonReader::take_hex() {  // at the u
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

void JsonReader::take_digits() {
  if (!is_digit(peek())) fail_here("a digit");
  while (is_digit(peek())) ++at_;
}

JsonNumber JsonReader::number() {
  begin_value();
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
  JsonNumber number;
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

}  // namespace rubricate
