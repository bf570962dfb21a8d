#include "files/safetensors.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "base/json_reader.h"
#include "base/limits.h"

namespace rubricate {
namespace {

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

// A tensor's entry in the header, checked member by member; anything unexpected is refused at its first byte.
class EntryReader {
 public:
  EntryReader(const std::string& path, const std::string& name, JsonReader& reader)
      : path_(path), name_(name), reader_(reader) {}

  // data: offset of the tensors' bytes; data_bytes: their number.
  SafetensorsEntry read(int64_t data, int64_t data_bytes) {
    if (reader_.next() != JsonType::object)
      reject("Expected an object for ", label(), " but received ", json_type_name(reader_.next()));
    reader_.enter_object();
    for (std::string key; reader_.next_member(key);) {
      if (key == "dtype")
        read_dtype(key);
      else if (key == "shape")
        read_shape(key);
      else if (key == "data_offsets")
        read_offsets(key);
      else
        reject("Expected dtype, shape and data_offsets for ", label(), " but received the unknown member ",
               json_quote(key));
    }
    const int64_t bytes = size_in_bytes();
    require_seen(has_offsets_, "data_offsets");
    const auto [begin, end] = offsets_;
    if (begin > end || end > data_bytes)
      reject("Expected data_offsets within the file's ", data_bytes, " bytes of data for ", label(), " but received [",
             begin, ", ", end, "]");
    if (end - begin != bytes)
      reject("Expected ", bytes, " bytes for ", label(), " of ", entry_.dtype, " ", shape_text(entry_.shape),
             " but received ", end - begin);
    entry_.offset = data + begin;
    entry_.bytes = bytes;
    return std::move(entry_);
  }

 private:
  template <typename... Parts>
  [[noreturn]] void reject(const Parts&... parts) const {
    fail("ERR_SAFETENSORS", parts..., " in ", path_);
  }
  std::string label() const { return "tensor " + json_quote(name_); }

  // Marks a member as seen; a duplicate is an error.
  void once(bool& seen, const std::string& key, JsonType type) const {
    if (seen) reject("Expected each key once but received ", json_quote(key), " again for ", label());
    seen = true;
    if (reader_.next() != type)
      reject("Expected ", type == JsonType::array ? "an array" : "a string", " for ", key, " of ", label(),
             " but received ", json_type_name(reader_.next()));
  }
  void require_seen(bool seen, const char* key) const {
    if (!seen) reject("Expected ", key, " for ", label(), " but there is none");
  }

  int64_t count(const std::string& what) {
    JsonNumber number;
    if (reader_.next() == JsonType::number) number = reader_.number();
    if (!number.integral || number.integer < 0)
      reject("Expected integers of 0 or more below 2^63 for ", what, " of ", label());
    return number.integer;
  }

  void read_dtype(const std::string& key) {
    once(has_dtype_, key, JsonType::string);
    entry_.dtype = reader_.string();
    const auto known = std::find_if(std::begin(kDTypes), std::end(kDTypes),
                                    [&](const DTypeBits& candidate) { return candidate.name == entry_.dtype; });
    if (known == std::end(kDTypes))
      reject("Expected a dtype of safetensors for ", label(), " but received ", json_quote(entry_.dtype));
    bits_ = known->bits;
  }

  void read_shape(const std::string& key) {
    once(has_shape_, key, JsonType::array);
    reader_.enter_array();
    while (reader_.next_item()) {
      if (static_cast<int64_t>(entry_.shape.size()) == limits::kMaxTensorRank)
        reject("Expected at most ", limits::kMaxTensorRank, " dimensions for ", label(), " but received more");
      entry_.shape.push_back(count(key));
    }
  }

  void read_offsets(const std::string& key) {
    once(has_offsets_, key, JsonType::array);
    reader_.enter_array();
    size_t found = 0;
    for (; reader_.next_item(); ++found) {
      if (found == offsets_.size()) reject("Expected two data_offsets for ", label(), " but received more");
      offsets_[found] = count(key);
    }
    if (found < offsets_.size()) reject("Expected two data_offsets for ", label(), " but received ", found);
  }

  int64_t size_in_bytes() const {
    require_seen(has_dtype_, "dtype");
    require_seen(has_shape_, "shape");
    int64_t total = bits_;
    bool overflow = false;
    for (const int64_t size : entry_.shape) overflow = __builtin_mul_overflow(total, size, &total) || overflow;
    if (overflow) reject("Expected a size below 2^63 bits for ", label(), " but its shape overflows it");
    if (total % 8 != 0) reject("Expected whole bytes for ", label(), " but received ", total, " bits");
    return total / 8;
  }

  const std::string& path_;
  const std::string& name_;
  JsonReader& reader_;
  SafetensorsEntry entry_;
  std::array<int64_t, 2> offsets_{};
  int64_t bits_ = 0;
  bool has_dtype_ = false, has_shape_ = false, has_offsets_ = false;
};

void read_metadata(const std::string& path, JsonReader& reader, std::map<std::string, std::string>& metadata) {
  check(reader.next() == JsonType::object, path, "Expected an object for __metadata__ but received ",
        json_type_name(reader.next()));
  reader.enter_object();
  for (std::string key; reader.next_member(key);) {
    check(reader.next() == JsonType::string, path, "Expected a string for ", json_quote(key),
          " of __metadata__ but received ", json_type_name(reader.next()));
    check(static_cast<int64_t>(metadata.size()) < limits::kMaxMetadata, path, "Expected at most ", limits::kMaxMetadata,
          " entries for __metadata__ but received more");
    const auto [entry, fresh] = metadata.emplace(std::move(key), reader.string());
    check(fresh, path, "Expected each key once but received ", json_quote(entry->first), " again for __metadata__");
  }
}

// Tensors must fill the data from its first byte to its last, each byte belonging to one of them.
void check_cover(const std::string& path, const std::map<std::string, SafetensorsEntry>& tensors, int64_t data,
                 int64_t data_bytes) {
  std::vector<std::pair<const std::string*, const SafetensorsEntry*>> order;
  order.reserve(tensors.size());
  for (const auto& [name, entry] : tensors) order.emplace_back(&name, &entry);
  std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    return std::pair(a.second->offset, a.second->bytes) < std::pair(b.second->offset, b.second->bytes);
  });
  int64_t end = data;
  for (const auto& [name, entry] : order) {
    check(entry->offset >= end, path, "Expected no overlap but tensor ", json_quote(*name),
          " overlaps the one before it");
    check(entry->offset == end, path, "Expected no bytes between tensors but there are ", entry->offset - end,
          " before tensor ", json_quote(*name));
    end = entry->offset + entry->bytes;
  }
  check(end == data + data_bytes, path, "Expected the tensors to fill the file but ", data + data_bytes - end,
        " bytes are left over at its end");
}

}  // namespace

void SafetensorsFile::read_entries(const std::string& header, int64_t data, int64_t data_bytes) {
  const std::string& path = file_->path();
  JsonReader reader(header, "the header of " + path, limits::kMaxHeaderBytes);
  bool has_metadata = false;
  reader.enter_object();
  for (std::string name; reader.next_member(name);) {
    if (name == "__metadata__") {
      check(!has_metadata, path, "Expected each key once but received \"__metadata__\" again");
      has_metadata = true;
      read_metadata(path, reader, metadata_);
      continue;
    }
    check(static_cast<int64_t>(tensors_.size()) < limits::kMaxTensors, path, "Expected at most ", limits::kMaxTensors,
          " tensors but received more");
    SafetensorsEntry entry = EntryReader(path, name, reader).read(data, data_bytes);
    const auto [place, fresh] = tensors_.emplace(std::move(name), std::move(entry));
    check(fresh, path, "Expected each key once but received ", json_quote(place->first), " again");
  }
  reader.finish();
}

void SafetensorsFile::read_header() {
  const std::string& path = file_->path();
  const std::string_view all = file_->text();
  check(all.size() >= 8, path, "Expected 8 bytes of header length but received ", all.size(), " bytes");
  uint64_t length = 0;
  for (size_t i = 0; i < 8; ++i) length |= static_cast<uint64_t>(static_cast<unsigned char>(all[i])) << (8 * i);
  check(length <= limits::kMaxHeaderBytes, path, "Expected a header of at most ", limits::kMaxHeaderBytes,
        " bytes but received ", length);
  check(length <= all.size() - 8, path, "Expected a header of ", length, " bytes but received ", all.size() - 8);
  check(length >= 2, path, "Expected a header of 2 bytes or more but received ", length);
  const std::string header(all.substr(8, length));  // a copy: the file may change while it is read
  check(header.front() == '{', path, "Expected a header that begins with { but received ",
        json_quote(header.substr(0, 1)));

  const auto data = static_cast<int64_t>(8 + length);
  const int64_t data_bytes = file_->size() - data;
  try {
    read_entries(header, data, data_bytes);
  } catch (const Error& error) {
    throw Error("ERR_SAFETENSORS", error.what());  // the JSON reader's code is ERR_JSON
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
  char* address = const_cast<char*>(file_->data()) + entry.offset;  // the mapping stays read-only
  return Tensor::borrow(std::const_pointer_cast<SafetensorsFile>(shared_from_this()), address, entry.shape, dtype);
}

}  // namespace rubricate
