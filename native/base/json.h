// A JSON document as a tree, for small configurations from untrusted sources. As strict as base/json_reader.h;
// duplicate keys and trailing text are errors with their position.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/json_reader.h"

namespace rubricate {

// Limits of a document: its bytes and its number of values (a value takes up to 170 bytes of memory, a key 40 more).
struct JsonLimits {
  int64_t bytes = limits::kMaxJsonBytes;
  int64_t values = limits::kMaxJsonValues;
};

class Json {
 public:
  using Type = JsonType;
  using Number = JsonNumber;
  using Member = std::pair<std::string, Json>;

  // name: the document's name in messages, such as a path. Errors: ERR_JSON.
  static Json parse(std::string_view text, const std::string& name, const JsonLimits& limits);

  Type type() const { return static_cast<Type>(value_.index()); }
  bool is(Type type) const { return this->type() == type; }
  const char* type_name() const;

  // Each throws ERR_INTERNAL for another type: check type() first, or use JsonAt, which names the path.
  bool boolean() const;
  const Number& number() const;
  const std::string& string() const;
  const std::vector<Json>& items() const;
  const std::vector<Member>& members() const;  // in the document's order
  // An object's member of that name, or null.
  const Json* find(std::string_view key) const;

 private:
  friend class JsonParser;
  struct Object {
    std::vector<Member> members;
    std::vector<uint32_t> sorted;  // indices of members by key
  };
  std::variant<std::monostate, bool, Number, std::string, std::vector<Json>, Object> value_;
};

// A value and its path within a document, for reading configurations: "Expected a number for attention.heads but
// received a string". The Json must outlive it.
class JsonAt {
 public:
  // code: of the error for a wrong type or a missing value, ERR_CONFIG or ERR_JSON. A name that is not empty precedes
  // the path ("config.json: attention.heads").
  JsonAt(const Json& root, std::string name, const char* code) : value_(&root), name_(std::move(name)), code_(code) {}

  const Json& json() const { return *value_; }
  const std::string& path() const { return path_; }
  bool has(std::string_view key) const;           // present and not null; throws if this is not an object
  JsonAt operator[](std::string_view key) const;  // throws if it is missing
  JsonAt at(int64_t index) const;                 // throws if it is out of range
  int64_t size() const;                           // of an array

  bool boolean() const;
  double number() const;
  int64_t integer(int64_t least = std::numeric_limits<int64_t>::min(),
                  int64_t most = std::numeric_limits<int64_t>::max()) const;
  const std::string& string() const;
  // Throws if this object has a member that is not among `keys`.
  void expect_only(std::initializer_list<std::string_view> keys) const;
  // Throws "Expected WHAT for PATH but received ..." about this value.
  [[noreturn]] void reject(const std::string& what) const;

 private:
  JsonAt child(const Json& value, std::string path) const;
  void expect(Json::Type type, const char* what) const;
  std::string place() const;

  const Json* value_;
  std::string name_, path_;
  const char* code_;
};

// Text in double quotes with controls escaped and at most 80 bytes of it, for messages.
std::string json_quote(std::string_view text);

}  // namespace rubricate
