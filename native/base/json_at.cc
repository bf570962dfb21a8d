// JsonAt: reads a document, with the path in every message.
#include <algorithm>

#include "base/error.h"
#include "base/json.h"

namespace rubricate {

std::string json_quote(std::string_view text) {
  constexpr size_t kMost = 80;
  std::string out = "\"";
  size_t end = std::min(text.size(), kMost);
  if (end < text.size())  // do not split a character
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  for (const char c : text.substr(0, end)) {
    const auto byte = static_cast<unsigned char>(c);
    static constexpr char hex[] = "0123456789abcdef";
    if (c == '"' || c == '\\') {
      out.push_back('\\');
      out.push_back(c);
    } else if (byte < 0x20 || byte == 0x7f) {
      out += "\\u00";
      out.push_back(hex[byte >> 4]);
      out.push_back(hex[byte & 15]);
    } else {
      out.push_back(c);
    }
  }
  return out + (end < text.size() ? "...\"" : "\"");
}

namespace {

// "a number", "an array": a value's description for messages; short values are shown. lib/errors.ts describes JavaScript values.
std::string describe(const Json& value) {
  switch (value.type()) {
    case Json::Type::null:
      return "null";
    case Json::Type::boolean:
      return value.boolean() ? "true" : "false";
    case Json::Type::number:
      return value.number().integral ? std::to_string(value.number().integer) : concat(value.number().value);
    case Json::Type::string:
      return "the string " + json_quote(value.string());
    case Json::Type::array:
      return "an array";
    case Json::Type::object:
      return "an object";
  }
  return "nothing";
}

}  // namespace

JsonAt JsonAt::child(const Json& value, std::string path) const {
  JsonAt at(value, name_, code_);
  at.path_ = std::move(path);
  return at;
}

std::string JsonAt::place() const {
  if (path_.empty()) return name_.empty() ? "the document" : name_;
  return name_.empty() ? path_ : name_ + ": " + path_;
}

void JsonAt::reject(const std::string& what) const {
  fail(code_, "Expected ", what, " for ", place(), " but received ", describe(*value_));
}

void JsonAt::expect(Json::Type type, const char* what) const {
  if (!value_->is(type)) reject(what);
}

bool JsonAt::has(std::string_view key) const {
  expect(Json::Type::object, "an object");
  const Json* found = value_->find(key);
  return found != nullptr && !found->is(Json::Type::null);
}

JsonAt JsonAt::operator[](std::string_view key) const {
  expect(Json::Type::object, "an object");
  const std::string path = path_.empty() ? std::string(key) : path_ + "." + std::string(key);
  const Json* found = value_->find(key);
  require(found != nullptr, code_, "Expected a value for ", name_.empty() ? path : name_ + ": " + path,
          " but there is none");
  return child(*found, path);
}

int64_t JsonAt::size() const {
  expect(Json::Type::array, "an array");
  return static_cast<int64_t>(value_->items().size());
}

JsonAt JsonAt::at(int64_t index) const {
  require(index >= 0 && index < size(), code_, "Expected an index below ", size(), " for ", place(), " but received ",
          index);
  return child(value_->items()[static_cast<size_t>(index)], path_ + "[" + std::to_string(index) + "]");
}

bool JsonAt::boolean() const {
  expect(Json::Type::boolean, "true or false");
  return value_->boolean();
}

double JsonAt::number() const {
  expect(Json::Type::number, "a number");
  return value_->number().value;
}

int64_t JsonAt::integer(int64_t least, int64_t most) const {
  constexpr auto kLeast = std::numeric_limits<int64_t>::min(), kMost = std::numeric_limits<int64_t>::max();
  const bool fits = value_->is(Json::Type::number) && value_->number().integral && value_->number().integer >= least &&
                    value_->number().integer <= most;
  if (fits) return value_->number().integer;
  if (least == kLeast && most == kMost) reject("an integer");
  if (most == kMost) reject(concat("an integer of ", least, " or more"));
  reject(concat("an integer from ", least, " to ", most));
}

const std::string& JsonAt::string() const {
  expect(Json::Type::string, "a string");
  return value_->string();
}

void JsonAt::expect_only(std::initializer_list<std::string_view> keys) const {
  expect(Json::Type::object, "an object");
  for (const auto& [key, value] : value_->members())
    if (std::find(keys.begin(), keys.end(), key) == keys.end())
      fail(code_, "Unknown member ", json_quote(key), " in ", place());
}

}  // namespace rubricate
