#include "base/json.h"

#include <algorithm>

#include "base/error.h"

namespace rubricate {

// Builds a tree from a JsonReader.
class JsonParser {
 public:
  JsonParser(std::string_view text, const std::string& name, const JsonLimits& limits)
      : reader_(text, name, limits.values) {}

  Json document() {
    Json value = parse_value();
    reader_.finish();
    return value;
  }

 private:
  Json parse_value() {
    Json value;
    switch (reader_.next()) {
      case JsonType::null:
        reader_.null();
        break;
      case JsonType::boolean:
        value.value_ = reader_.boolean();
        break;
      case JsonType::number:
        value.value_ = reader_.number();
        break;
      case JsonType::string:
        value.value_ = reader_.string();
        break;
      case JsonType::array:
        value.value_ = parse_array();
        break;
      case JsonType::object:
        value.value_ = parse_object();
        break;
    }
    return value;
  }

  std::vector<Json> parse_array() {
    std::vector<Json> items;
    reader_.enter_array();
    while (reader_.next_item()) items.push_back(parse_value());
    return items;
  }

  Json::Object parse_object() {
    const size_t start = reader_.place();
    Json::Object object;
    reader_.enter_object();
    for (std::string key; reader_.next_member(key);) {
      Json value = parse_value();
      object.members.emplace_back(std::move(key), std::move(value));
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
      reader_.fail_at(start, "Expected each key once but received " + json_quote(members[*same].first) + " again");
  }

  JsonReader reader_;
};

Json Json::parse(std::string_view text, const std::string& name, const JsonLimits& limits) {
  require(static_cast<int64_t>(text.size()) <= limits.bytes, "ERR_JSON", "Expected at most ", limits.bytes,
          " bytes for ", name, " but received ", text.size());
  return JsonParser(text, name, limits).document();
}

const char* Json::type_name() const { return json_type_name(type()); }

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
