// The rows of one section of the result. After every row the file has all rows so far, as a JSON array, so an
// interrupted run loses nothing.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/error.h"

namespace rubricate::bench {

using Value = std::variant<bool, int64_t, double, std::string>;

inline std::string json_text(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return out + "\"";
}

inline std::string json_of_value(const Value& value) {
  if (const auto* text = std::get_if<std::string>(&value)) return json_text(*text);
  if (const auto* flag = std::get_if<bool>(&value)) return *flag ? "true" : "false";
  if (const auto* integer = std::get_if<int64_t>(&value)) return std::to_string(*integer);
  const double number = std::get<double>(value);
  char digits[32];
  std::snprintf(digits, sizeof digits, "%.8g", number);
  return std::isfinite(number) ? digits : "null";
}

using Row = std::vector<std::pair<const char*, Value>>;

inline std::string json_of_row(const Row& row) {
  std::string out = "{";
  for (const auto& [name, value] : row)
    out += concat(out.size() > 1 ? ", " : "", json_text(name), ": ", json_of_value(value));
  return out + "}";
}

class Results {
 public:
  // path: the file; empty: writes none.
  explicit Results(std::string path) : path_(std::move(path)) { write(); }

  // Throws ERR_FILE if the file cannot be written.
  void add(const Row& row) {
    rows_.push_back(json_of_row(row));
    write();
  }

 private:
  void write() const {
    if (path_.empty()) return;
    std::ofstream file(path_, std::ios::trunc);
    file << "[";
    for (size_t i = 0; i < rows_.size(); ++i) file << (i == 0 ? "\n    " : ",\n    ") << rows_[i];
    file << "\n  ]\n" << std::flush;
    require(file.good(), "ERR_FILE", "Could not write ", path_);
  }
  const std::string path_;
  std::vector<std::string> rows_;
};

}  // namespace rubricate::bench
