// A tree from any text: its content is consistent, and every accessor returns or throws.
#include "base/json.h"

#include <cmath>
#include <string>

#include "checks.h"

using namespace rubricate;

namespace {

void require_number(const Json::Number& number) {
  if (!std::isfinite(number.value)) fuzz::found("a number that is not finite");
  if (number.integral &&
      std::fabs(static_cast<double>(number.integer) - number.value) > std::fabs(number.value) * 1e-15)
    fuzz::found("an integer that differs from its number");
}

void walk(const Json& json, int depth) {
  if (depth > limits::kMaxJsonDepth + 1) fuzz::found("a document that is too deep");
  if (json.is(Json::Type::number)) require_number(json.number());
  if (json.is(Json::Type::string) && json_quote(json.string()).size() > 600) fuzz::found("a long quotation");
  if (json.is(Json::Type::array))
    for (const Json& item : json.items()) walk(item, depth + 1);
  if (json.is(Json::Type::object))
    for (const auto& [key, value] : json.members()) {
      if (json.find(key) != &value) fuzz::found("a member that is not found:", key.c_str());
      walk(value, depth + 1);
    }
}

template <typename Access>
void returns_or_throws(Access&& access) {
  try {
    access();
  } catch (const Error& error) {
    if (std::strcmp(error.code(), "ERR_CONFIG") != 0) fuzz::found(error.code(), error.what());
  }
}

void access(const Json& json) {
  const JsonAt at(json, "document", "ERR_CONFIG");
  for (const char* key : {"a", "", "dtype"}) returns_or_throws([&] { at[key].integer(0, 5); });
  returns_or_throws([&] { at.integer(); });
  returns_or_throws([&] { at.number(); });
  returns_or_throws([&] { at.string(); });
  returns_or_throws([&] { at.at(at.size() - 1).boolean(); });
  returns_or_throws([&] { at.expect_only({"a", "b"}); });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  JsonLimits limits;
  if (size > 0 && data[0] % 7 == 0) limits = {64, 5};
  fuzz::check(size, 2 << 20, {"ERR_JSON"}, [&] {  // the largest allowed tree
    const Json json = Json::parse(text, "document", limits);
    walk(json, 0);
    access(json);
  });
  return 0;
}
