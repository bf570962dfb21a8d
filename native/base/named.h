// Enums with names, as JSON, files and messages have them. The table beside an enum both parses and prints it.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string_view>

namespace rubricate {

template <typename E>
struct Named {
  E value;
  const char* name;
};

// "unknown" for a value that is in no table, which no enum of this core has.
template <typename E, size_t n>
constexpr const char* name_of(const std::array<Named<E>, n>& table, E value) {
  for (const Named<E>& each : table)
    if (each.value == value) return each.name;
  return "unknown";
}

template <typename E, size_t n>
constexpr std::optional<E> value_of(const std::array<Named<E>, n>& table, std::string_view name) {
  for (const Named<E>& each : table)
    if (name == each.name) return each.value;
  return std::nullopt;
}

}  // namespace rubricate
