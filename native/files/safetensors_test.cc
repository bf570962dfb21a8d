#include "files/safetensors.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "base/error.h"
#include "base/limits.h"
#include "doctest/doctest.h"
#include "tests/temporary_folder.h"

using rubricate::DType;
using rubricate::Error;
using rubricate::SafetensorsFile;
using rubricate::Shape;
using rubricate::Tensor;
using rubricate::testing::TemporaryFolder;

namespace {

std::string with_length(uint64_t length, const std::string& rest) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes.push_back(static_cast<char>(length >> (8 * i)));
  return bytes + rest;
}

std::string file_bytes(const std::string& header, size_t data_bytes) {
  return with_length(header.size(), header + std::string(data_bytes, '\0'));
}

std::string entry(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
}

struct Thrown {
  std::string code, message;
};
template <typename Body>
Thrown thrown(Body&& body) {
  try {
    body();
  } catch (const Error& error) {
    return {error.code(), error.what()};
  }
  return {};
}

const std::string kF32 = entry("F32", "[2,2]", "[0,16]");

}  // namespace

TEST_CASE("a safetensors file is read: names, shapes, offsets, bytes, metadata") {
  const TemporaryFolder folder;
  std::string bytes = file_bytes(
      R"({"__metadata__":{"format":"pt"},"b":)" + entry("BF16", "[3]", "[16,22]") + R"(,"a":)" + kF32 +
          R"(,"scalar":)" + entry("F16", "[]", "[22,24]") + R"(,"none":)" + entry("F32", "[0,7]", "[16,16]") +
          R"(,"ids":)" + entry("I64", "[1]", "[24,32]") + R"(,"__proto__":)" + entry("U8", "[1]", "[32,33]") +
          R"(,"half":)" + entry("F4", "[2]", "[33,34]") + "}   ",
      34);
  const float values[] = {1.0f, -2.0f, 3.5f, 4.0f};
  std::memcpy(bytes.data() + bytes.size() - 34, values, 16);
  const auto file = SafetensorsFile::open(folder.write("model.safetensors", bytes));

  CHECK(file->tensors().size() == 7);
  CHECK(file->metadata().at("format") == "pt");
  CHECK(file->tensors().at("b").shape == Shape{3});
  CHECK(file->tensors().at("b").dtype == "BF16");
  CHECK(file->tensors().at("b").bytes == 6);
  CHECK(file->tensors().at("b").offset == static_cast<int64_t>(bytes.size()) - 34 + 16);
  const Tensor a = file->tensor("a");
  CHECK(a.dtype() == DType::f32);
  CHECK(a.shape() == Shape{2, 2});
  CHECK(std::memcmp(a.raw(), values, 16) == 0);
  CHECK(file->tensor("scalar").count() == 1);
  CHECK(file->tensor("none").count() == 0);
}

TEST_CASE("a tensor keeps the mapping alive") {
  const TemporaryFolder folder;
  Tensor tensor;
  {
    const auto file = SafetensorsFile::open(folder.write("a", file_bytes(R"({"a":)" + kF32 + "}", 16)));
    tensor = file->tensor("a");
  }
  CHECK(static_cast<const char*>(tensor.raw())[15] == 0);
}

TEST_CASE("a tensor that is missing or has another dtype is refused by name") {
  const TemporaryFolder folder;
  const auto file = SafetensorsFile::open(
      folder.write("a.safetensors", file_bytes(R"({"ids":)" + entry("I64", "[2]", "[0,16]") + "}", 16)));
  CHECK(thrown([&] { file->tensor("weight"); }).code == "ERR_TENSOR_MISSING");
  CHECK(thrown([&] { file->tensor("__proto__"); }).code == "ERR_TENSOR_MISSING");
  const Thrown dtype = thrown([&] { file->tensor("ids"); });
  CHECK(dtype.code == "ERR_DTYPE");
  CHECK(dtype.message.find("tensor \"ids\" in " + file->path()) != std::string::npos);
}

TEST_CASE("each violation of the format has its own message") {
  struct Case {
    const char* what;
    std::string bytes, part;
  };
  const auto one = [](const std::string& value, size_t data) { return file_bytes(R"({"t":)" + value + "}", data); };
  const auto two = [](const std::string& first, const std::string& second, size_t data) {
    return file_bytes(R"({"s":)" + first + R"(,"t":)" + second + "}", data);
  };
  const std::string first = entry("U8", "[4]", "[0,4]");
  const Case cases[] = {
      {"empty", "", "8 bytes of header length but received 0"},
      {"seven bytes", "1234567", "8 bytes of header length but received 7"},
      {"header beyond 100 MB", with_length(100'000'001, "{}"), "at most 100000000 bytes but received 100000001"},
      {"header of 2^64 - 1", with_length(~uint64_t{0}, "{}"), "at most 100000000"},
      {"header beyond the end", with_length(60, "{}"), "a header of 60 bytes but received 2"},
      {"no header", with_length(0, ""), "2 bytes or more but received 0"},
      {"an array", file_bytes("[]", 0), "begins with { but received \"[\""},
      {"a space first", file_bytes(" {}", 0), "begins with { but received \" \""},
      {"not UTF-8", file_bytes("{\"\xff\":1}", 0), "UTF-8"},
      {"not JSON", file_bytes("{\"a\" 1}", 0), "a colon"},
      {"two documents", file_bytes("{}{}", 0), "the end of the document"},
      {"zero bytes after the header", with_length(4, std::string("{}\0\0", 4)), "the end of the document"},
      {"deep", file_bytes("{\"a\":" + std::string(100000, '['), 0), "an object for tensor \"a\" but received array"},
      {"a deep shape", file_bytes("{\"a\":{\"shape\":" + std::string(100000, '['), 0), "integers of 0 or more"},
      {"metadata twice", file_bytes(R"({"__metadata__":{},"__metadata__":{}})", 0), "\"__metadata__\" again"},
      {"a key of metadata twice", file_bytes(R"({"__metadata__":{"a":"","a":""}})", 0), "\"a\" again"},
      {"a name twice", two(first, first, 4).replace(8, 5, "{\"t\":"), "each key once but received \"t\" again"},
      {"a key twice", one(R"({"dtype":"U8","dtype":"F32","shape":[4],"data_offsets":[0,4]})", 4), "\"dtype\" again"},
      {"an entry that is not an object", one("3", 0), "an object for tensor \"t\" but received number"},
      {"an unknown member", one(R"({"dtype":"U8","shape":[4],"data_offsets":[0,4],"x":1})", 4), "unknown member \"x\""},
      {"no dtype", one(R"({"shape":[4],"data_offsets":[0,4]})", 4), "Expected dtype for tensor \"t\""},
      {"no shape", one(R"({"dtype":"U8","data_offsets":[0,4]})", 4), "Expected shape for tensor \"t\""},
      {"no offsets", one(R"({"dtype":"U8","shape":[4]})", 4), "Expected data_offsets for tensor \"t\""},
      {"an unknown dtype", one(entry("F31", "[4]", "[0,4]"), 4), "a dtype of safetensors"},
      {"a dtype that is a number", one(R"({"dtype":8,"shape":[4],"data_offsets":[0,4]})", 4), "a string for dtype"},
      {"a shape that is a string", one(R"({"dtype":"U8","shape":"4","data_offsets":[0,4]})", 4), "an array for shape"},
      {"a negative size", one(entry("U8", "[-4]", "[0,4]"), 4), "integers of 0 or more below 2^63 for shape"},
      {"a size with a fraction", one(entry("U8", "[4.5]", "[0,4]"), 4), "integers of 0 or more"},
      {"a size of 2^64", one(entry("U8", "[18446744073709551616]", "[0,4]"), 4), "integers of 0 or more"},
      {"sizes that overflow", one(entry("U8", "[4294967296,4294967296,4294967296]", "[0,4]"), 4), "overflows"},
      {"bits that overflow", one(entry("F64", "[576460752303423488]", "[0,4]"), 4), "overflows"},
      {"overflow hidden by a zero", one(entry("U8", "[4294967296,4294967296,0]", "[0,0]"), 0), "overflows"},
      {"half a byte", one(entry("F4", "[3]", "[0,1]"), 1), "whole bytes for tensor \"t\" but received 12 bits"},
      {"three offsets", one(entry("U8", "[4]", "[0,4,4]"), 4), "two data_offsets"},
      {"one offset", one(entry("U8", "[4]", "[0]"), 4), "two data_offsets for tensor \"t\" but received 1"},
      {"an offset of 2^63", one(entry("U8", "[4]", "[0,9223372036854775808]"), 4), "below 2^63 for data_offsets"},
      {"an offset beyond any double", one(entry("U8", "[4]", "[0,1e999]"), 4), "within the range of a double"},
      {"a negative offset", one(entry("U8", "[4]", "[-4,0]"), 4), "integers of 0 or more below 2^63 for data_offsets"},
      {"offsets the wrong way round", one(entry("U8", "[4]", "[4,0]"), 4), "received [4, 0]"},
      {"offsets beyond the end", one(entry("U8", "[8]", "[0,8]"), 4), "within the file's 4 bytes"},
      {"offsets near 2^63", one(entry("U8", "[4]", "[9223372036854775803,9223372036854775807]"), 4),
       "within the file's"},
      {"too few bytes for the shape", one(entry("F32", "[2]", "[0,4]"), 4), "8 bytes for tensor \"t\" of F32 [2]"},
      {"too many bytes for the shape", one(entry("U8", "[2]", "[0,4]"), 4), "2 bytes for tensor \"t\""},
      {"an overlap", two(first, entry("U8", "[4]", "[2,6]"), 6), "tensor \"t\" overlaps"},
      {"the same bytes twice", two(first, first, 4), "overlaps"},
      {"a hole", two(first, entry("U8", "[4]", "[6,10]"), 10), "there are 2 before tensor \"t\""},
      {"a hole at the start", one(entry("U8", "[4]", "[2,6]"), 6), "there are 2 before tensor \"t\""},
      {"bytes left over", one(entry("U8", "[4]", "[0,4]"), 7), "3 bytes are left over"},
      {"bytes but no tensor", file_bytes("{}", 5), "5 bytes are left over"},
      {"metadata that is a list", file_bytes(R"({"__metadata__":[]})", 0), "an object for __metadata__"},
      {"metadata with a number", file_bytes(R"({"__metadata__":{"a":1}})", 0), "a string for \"a\" of __metadata__"},
  };
  const TemporaryFolder folder;
  for (const Case& c : cases) {
    CAPTURE(c.what);
    const std::string path = folder.write("bad.safetensors", c.bytes);
    const Thrown error = thrown([&] { SafetensorsFile::open(path); });
    CAPTURE(error.message);
    CHECK(error.code == "ERR_SAFETENSORS");
    CHECK(error.message.find("Expected ") == 0);
    CHECK(error.message.find(c.part) != std::string::npos);
    CHECK(error.message.find(path) != std::string::npos);
  }
  CHECK(SafetensorsFile::open(folder.write("fine", file_bytes("{}", 0)))->tensors().empty());
}

// A header with the given numbers of tensors, all empty, of dimensions, and of metadata entries.
std::string wide_header(int64_t tensors, int64_t rank, int64_t metadata) {
  std::string shape = "0", header = "{\"__metadata__\":{";
  for (int64_t i = 1; i < rank; ++i) shape += ",1";
  for (int64_t i = 0; i < metadata; ++i) header += (i == 0 ? "\"" : ",\"") + std::to_string(i) + "\":\"\"";
  header += "}";
  for (int64_t i = 0; i < tensors; ++i)
    header += ",\"" + std::to_string(i) + "\":" + entry("U8", "[" + shape + "]", "[0,0]");
  return header + "}";
}

TEST_CASE("the counts in a header are bounded") {
  using namespace rubricate::limits;
  const TemporaryFolder folder;
  const auto open = [&](int64_t tensors, int64_t rank, int64_t metadata) {
    const std::string path = folder.write("wide", file_bytes(wide_header(tensors, rank, metadata), 0));
    return thrown([&] { SafetensorsFile::open(path); }).message;
  };
  CHECK(open(kMaxTensors, 1, 0) == "");
  CHECK(open(kMaxTensors + 1, 1, 0).find("at most 98304 tensors") != std::string::npos);
  CHECK(open(1, kMaxTensorRank, 0) == "");
  CHECK(open(1, kMaxTensorRank + 1, 0).find("at most 64 dimensions for tensor \"0\"") != std::string::npos);
  CHECK(open(0, 1, kMaxMetadata) == "");
  CHECK(open(0, 1, kMaxMetadata + 1).find("at most 16384 entries for __metadata__") != std::string::npos);
  const std::string padding(static_cast<size_t>(kMaxHeaderBytes) - 2, ' ');
  CHECK(thrown([&] { SafetensorsFile::open(folder.write("long", file_bytes("{}" + padding, 0))); }).code.empty());
}

TEST_CASE("a malformed header is refused at its first fault, without parsing the rest") {
  const TemporaryFolder folder;
  const std::string tail(8 << 20, '{');
  for (const char* start :
       {R"({"a":[)", R"({"a":{"shape":[{)", R"({"a":{"shape":{)", R"({"a":0,"b":)", R"({"a":{"x":)"}) {
    CAPTURE(start);
    const std::string path = folder.write("many", file_bytes(start + tail, 0));
    const std::string message = thrown([&] { SafetensorsFile::open(path); }).message;
    CHECK(message.find("tensor \"a\"") != std::string::npos);
  }
}

TEST_CASE("a pipe, a folder or a device instead of a file is refused at once") {
  const TemporaryFolder folder;
  REQUIRE(mkfifo(folder.path("pipe").c_str(), 0600) == 0);
  for (const auto& [path, kind] :
       {std::pair{folder.path("pipe"), "a pipe (FIFO): save its contents as a file"},
        std::pair{folder.path(""), "a folder"}, std::pair{std::string("/dev/zero"), "a device"}}) {
    const Thrown error = thrown([&, at = path] { SafetensorsFile::open(at); });
    CHECK(error.code == "ERR_FILE");
    CHECK(error.message == "Expected a regular file at " + path + " but it is " + kind);
  }
}

TEST_CASE("a shard that is truncated, before or after it is opened, is an error") {
  const TemporaryFolder folder;
  const std::string whole = file_bytes(R"({"a":)" + entry("F32", "[16384]", "[0,65536]") + "}", 65536);
  for (const size_t size : {size_t{4}, size_t{20}, size_t{100}, whole.size() - 1}) {
    const std::string path = folder.write("cut", whole.substr(0, size));
    CHECK(thrown([&] { SafetensorsFile::open(path); }).code == "ERR_SAFETENSORS");
  }
  const auto file = SafetensorsFile::open(folder.write("later", whole));
  const Tensor tensor = file->tensor("a");
  REQUIRE(truncate(file->path().c_str(), 4096) == 0);
  float sum = 0.0f;
  for (int64_t i = 0; i < tensor.count(); ++i) {
    float value;
    std::memcpy(&value, static_cast<const char*>(tensor.raw()) + 4 * i, 4);
    sum += value;
  }
  CHECK(sum == 0.0f);
  CHECK(thrown([&] { file->file()->check_unchanged(); }).code == "ERR_FILE");
  CHECK(thrown([&] { SafetensorsFile::open(folder.path("missing")); }).code == "ERR_FILE");
}
