// A streaming JSON reader (RFC 8259): value after value, nothing is stored. The caller checks the document's structure
// as it reads, so a wrong structure costs no memory. base/json.h builds a tree with it.
//
//   reader.enter_object();
//   for (std::string key; reader.next_member(key);) ... reads one value ...
//   reader.finish();
#pragma once

#include <bitset>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/limits.h"
#include "base/named.h"

namespace rubricate {

enum class JsonType { null, boolean, number, string, array, object };
inline constexpr std::array<Named<JsonType>, 6> kJsonTypeNames{{{JsonType::null, "null"},
                                                                {JsonType::boolean, "boolean"},
                                                                {JsonType::number, "number"},
                                                                {JsonType::string, "string"},
                                                                {JsonType::array, "array"},
                                                                {JsonType::object, "object"}}};
constexpr const char* json_type_name(JsonType type) { return name_of(kJsonTypeNames, type); }

struct JsonNumber {
  double value = 0.0;
  int64_t integer = 0;    // exact if `integral`
  bool integral = false;  // an int64, however it was written (4096, 4096.0, 4.096e3)
};

// All throw ERR_JSON with line and column: for invalid syntax, invalid UTF-8, a lone surrogate, a number out of a
// double's range, nesting deeper than kMaxJsonDepth, or more values than `values`.
class JsonReader {
 public:
  // text: must outlive the reader. name: the document's name in messages, such as a path.
  JsonReader(std::string_view text, std::string name, int64_t values);

  // The type of the next value, by its first character.
  JsonType next() const;
  // Each reads the next value, which must be of that type.
  void null();
  bool boolean();
  JsonNumber number();
  std::string string();
  void enter_object();
  void enter_array();
  // Reads up to the next member's value, or past the object's end. Duplicate keys are allowed.
  bool next_member(std::string& key);
  // Reads up to the next item, or past the array's end.
  bool next_item();
  // Nothing but whitespace may follow.
  void finish();

  size_t place() const { return at_; }  // bytes read so far
  [[noreturn]] void fail_at(size_t place, const std::string& what) const;

 private:
  [[noreturn]] void fail_here(const std::string& expected) const;
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  bool take(char c);
  void take_word(std::string_view word);
  void take_digits();
  void skip_space();
  void begin_value();
  void enter();
  bool next_in(char end, const char* expected);
  std::string take_string();
  void take_escape(std::string& out);
  uint32_t take_hex();

  std::string_view text_;
  std::string name_;
  int64_t values_left_;
  size_t at_ = 0;
  int depth_ = 0;                                      // open containers
  std::bitset<limits::kMaxJsonDepth + 2> has_member_;  // by depth: whether the container had a member or an item
};

}  // namespace rubricate
