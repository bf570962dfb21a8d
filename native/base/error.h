// The one exception type of the core. The binding converts it to a RubricateError (lib/errors.ts) with the same code.
#pragma once

#include <exception>
#include <sstream>
#include <string>
#include <utility>

namespace rubricate {

class Error : public std::exception {
 public:
  // code: one of the stable codes of lib/errors.ts, such as "ERR_SHAPE"; message: a sentence for the user.
  Error(const char* code, std::string message) : code_(code), message_(std::move(message)) {}
  const char* code() const noexcept { return code_; }
  const char* what() const noexcept override { return message_.c_str(); }

 private:
  const char* code_;
  std::string message_;
};

template <typename... Parts>
std::string concat(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

template <typename... Parts>
[[noreturn]] void fail(const char* code, const Parts&... parts) {
  throw Error(code, concat(parts...));
}

// Checks of arguments: `require(x > 0, "ERR_ARGUMENT", "Expected a positive count but received ", x)`.
template <typename... Parts>
void require(bool condition, const char* code, const Parts&... parts) {
  if (!condition) [[unlikely]]
    fail(code, parts...);
}

}  // namespace rubricate
