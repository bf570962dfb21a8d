#include "files/safetensors.h"

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/json.h"

namespace rubricate {
namespace {

constexpr int64_t kMaxHeaderBytes = 100'000'000;
constexpr int64_t kMaxHeaderValues = 4'000'000;  // a tensor takes about eight

struct DTypeBits {
  std::string_view name;
  int64_t bits;
};
constexpr DTypeBits kDTypes[] = {
    {"BOOL", 8},    {"U8", 8},   {"I8", 8},   {"F8_E4M3", 8}, {"F8_E5M2", 8}, {"F8_E8M0", 8}, {"F6_E2M3", 6},
    {"F6_E3M2", 6}, {"F4", 4},   {"I16", 16}, {"U16", 16},    {"F16", 16},    {"BF16", 16},   {"I32", 32},
    {"U32", 32},    {"F32", 32}, {"I64", 64}, {"U64", 64},    {"F64", 64},    {"C64", 64},
};

template <typename... Parts>
void check(bool condition, const std::string& path, const Parts&... parts) {
  if (!condition) [[unlikely]]
    fail("ERR_SAFETENSORS", parts..., " in ", path);
}

// One tensor's entry in the header. `data` is where the tensors' bytes begin, `data_bytes` how many there are.
class EntryReader {
 public:
  EntryReader(const std::string& path, const std::string& name, const Json& json)
      : path_(path), label_("tensor " + json_quote(name)), json_(json) {
    check(json.is(Json::Type::object), path_, "Expected an object for ", label_, " but received ", json.type_name());
    for (const auto& [key, value] : json.members())
      check(key == "dtype" || key == "shape" || key == "data_offsets", path_, "Expected no member ", json_quote(key),
            " for ", label_);
  }

  SafetensorsEntry read(int64_t data, int64_t data_bytes) const {
    SafetensorsEntry entry;
    const int64_t bits = read_dtype(entry.dtype);
    const int64_t bytes = read_shape(entry.shape, bits);
    const Json& offsets = member("data_offsets", Json::Type::array);
    check(offsets.items().size() == 2, path_, "Expected two data_offsets for ", label_, " but received ",
          offsets.items().size());
    const int64_t begin = count(offsets.items()[0], "data_offsets"), end = count(offsets.items()[1], "data_offsets");
    check(begin <= end && end <= data_bytes, path_, "Expected data_offsets within the file's ", data_bytes,
          " bytes of data for ", label_, " but received [", begin, ", ", end, "]");
    check(end - begin == bytes, path_, "Expected ", bytes, " bytes for ", label_, " of ", entry.dtype, " ",
          shape_text(entry.shape), " but received ", end - begin);
    entry.offset = data + begin;
    entry.bytes = bytes;
    return entry;
  }

 private:
  const Json& member(const char* key, Json::Type type) const {
    const Json* value = json_.find(key);
    check(value != nullptr, path_, "Expected ", key, " for ", label_, " but there is none");
    check(value->is(type), path_, "Expected ", type == Json::Type::array ? "an array" : "a string", " for ", key,
          " of ", label_, " but received ", value->type_name());
    return *value;
  }

  int64_t count(const Json& value, const char* what) const {
    const bool whole = value.is(Json::Type::number) && value.number().integral && value.number().integer >= 0;
    check(whole, path_, "Expected integers of 0 or more below 2^63 for ", what, " of ", label_);
    return value.number().integer;
  }

  int64_t read_dtype(std::string& dtype) const {
    dtype = member("dtype", Json::Type::string).string();
    const auto known = std::find_if(std::begin(kDTypes), std::end(kDTypes),
                                    [&](const DTypeBits& candidate) { return candidate.name == dtype; });
    check(known != std::end(kDTypes), path_, "Expected a dtype of safetensors for ", label_, " but received ",
          json_quote(dtype));
    return known->bits;
  }

  int64_t read_shape(Shape& shape, int64_t bits) const {
    int64_t total = bits;
    bool overflow = false;
    for (const Json& size : member("shape", Json::Type::array).items()) {
      shape.push_back(count(size, "shape"));
      overflow = __builtin_mul_overflow(total, shape.back(), &total) || overflow;
    }
    check(!overflow, path_, "Expected a size below 2^63 bits for ", label_, " but its shape overflows it");
    check(total % 8 == 0, path_, "Expected whole bytes for ", label_, " but received ", total, " bits");
    return total / 8;
  }

  const std::string& path_;
  std::string label_;
  const Json& json_;
};

void read_metadata(const std::string& path, const Json& json, std::map<std::string, std::string>& metadata) {
  check(json.is(Json::Type::object), path, "Expected an object for __metadata__ but received ", json.type_name());
  for (const auto& [key, value] : json.members()) {
    check(value.is(Json::Type::string), path, "Expected a string for ", json_quote(key),
          " of __metadata__ but received ", value.type_name());
    metadata.emplace(key, value.string());
  }
}

// Tensors must fill the data from its first byte to its last, each byte belonging to one of them.
void check_cover(const std::string& path, const std::map<std::string, SafetensorsEntry>& tensors, int64_t data,
                 int64_t data_bytes) {
  std::vector<std::pair<const std::string*, const SafetensorsEntry*>> order;
  for (const auto& [name, entry] : tensors) order.emplace_back(&name, &entry);
  std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    return std::pair(a.second->offset, a.second->bytes) < std::pair(b.second->offset, b.second->bytes);
  });
  int64_t end = data;
  for (const auto& [name, entry] : order) {
    check(entry->offset >= end, path, "Expected tensors apart but tensor ", json_quote(*name),
          " overlaps the one before it");
    check(entry->offset == end, path, "Expected no bytes between tensors but there are ", entry->offset - end,
          " before tensor ", json_quote(*name));
    end = entry->offset + entry->bytes;
  }
  check(end == data + data_bytes, path, "Expected the tensors to fill the file but ", data + data_bytes - end,
        " bytes are left over at its end");
}

}  // namespace

void SafetensorsFile::read_header() {
  const std::string& path = file_->path();
  const std::string_view all = file_->text();
  check(all.size() >= 8, path, "Expected 8 bytes of header length but received ", all.size(), " bytes");
  uint64_t length = 0;
  for (size_t i = 0; i < 8; ++i) length |= static_cast<uint64_t>(static_cast<unsigned char>(all[i])) << (8 * i);
  check(length <= kMaxHeaderBytes, path, "Expected a header of at most ", kMaxHeaderBytes, " bytes but received ",
        length);
  check(length <= all.size() - 8, path, "Expected a header of ", length, " bytes but received ", all.size() - 8);
  check(length >= 2, path, "Expected a header of 2 bytes or more but received ", length);
  const std::string header(all.substr(8, length));  // a copy: the file may change while it is read
  check(header.front() == '{', path, "Expected a header that begins with { but received ",
        json_quote(header.substr(0, 1)));

  Json json;
  try {
    json = Json::parse(header, "the header of " + path, {kMaxHeaderBytes, kMaxHeaderValues});
  } catch (const Error& error) {
    throw Error("ERR_SAFETENSORS", error.what());
  }
  const auto data = static_cast<int64_t>(8 + length);
  const int64_t data_bytes = file_->size() - data;
  for (const auto& [name, value] : json.members()) {
    if (name == "__metadata__")
      read_metadata(path, value, metadata_);
    else
      tensors_.emplace(name, EntryReader(path, name, value).read(data, data_bytes));
  }
  check_cover(path, tensors_, data, data_bytes);
}

std::shared_ptr<const SafetensorsFile> SafetensorsFile::open(const std::string& path) {
  std::shared_ptr<SafetensorsFile> file(new SafetensorsFile);
  file->file_ = MappedFile::open(path);
  file->read_header();
  file->file_->check_unchanged();
  return file;
}

Tensor SafetensorsFile::tensor(const std::string& name) const {
  const auto found = tensors_.find(name);
  require(found != tensors_.end(), "ERR_TENSOR_MISSING", "Expected a tensor ", json_quote(name), " in ", path(),
          " but there is none");
  const SafetensorsEntry& entry = found->second;
  const bool usable = entry.dtype == "F32" || entry.dtype == "F16" || entry.dtype == "BF16";
  require(usable, "ERR_DTYPE", "Expected F32, F16 or BF16 for tensor ", json_quote(name), " in ", path(),
          " but received ", entry.dtype);
  const DType dtype = entry.dtype == "F32" ? DType::f32 : entry.dtype == "F16" ? DType::f16 : DType::bf16;
  char* address = const_cast<char*>(file_->data()) + entry.offset;  // the mapping is read-only all the same
  return Tensor::borrow(std::const_pointer_cast<SafetensorsFile>(shared_from_this()), address, entry.shape, dtype);
}

}  // namespace rubricate
