// Parses JSON's decimal numbers, the same in every locale. (std::from_chars for double would need a newer libstdc++.)
#pragma once

#include <locale.h>
#include <stdlib.h>

#include <cstdint>
#include <string>

namespace rubricate {

// digits: a number in JSON's grammar. Rounds to nearest even; infinite if it is out of range.
inline double parse_double(const std::string& digits) {
  static const locale_t c_locale = newlocale(LC_ALL_MASK, "C", nullptr);
  return strtod_l(digits.c_str(), nullptr, c_locale);
}

// digits: an optional minus and decimal digits. False if it does not fit into an int64.
inline bool parse_int64(const std::string& digits, int64_t& out) {
  const bool negative = digits.front() == '-';
  int64_t value = 0;
  for (size_t i = negative ? 1 : 0; i < digits.size(); ++i) {
    const int64_t digit = digits[i] - '0';
    if (__builtin_mul_overflow(value, int64_t{10}, &value)) return false;
    if (__builtin_add_overflow(value, negative ? -digit : digit, &value)) return false;
  }
  out = value;
  return true;
}

}  // namespace rubricate
