#include "model/checkpoint.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "doctest/doctest.h"
#include "files/shared_safetensors.h"
#include "tests/temporary_folder.h"
#include "tests/test_model.h"

using namespace rubricate;
using namespace rubricate::testing;

namespace {

// Writes a safetensors file of zeros.
std::string zeros(const std::vector<TensorSpec>& tensors, const std::string& dtype = "F32") {
  std::string header = "{";
  int64_t offset = 0;
  for (const TensorSpec& tensor : tensors) {
    const int64_t end = offset + (dtype == "F32" ? 4 : 2) * element_count(tensor.shape);
    header += concat(header.size() > 1 ? "," : "", "\"", tensor.name, R"(":{"dtype":")", dtype, R"(","shape":)",
                     shape_text(tensor.shape), R"(,"data_offsets":[)", offset, ",", end, "]}");
    offset = end;
  }
  header += "}";
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes.push_back(static_cast<char>(header.size() >> (8 * i)));
  return bytes + header + std::string(static_cast<size_t>(offset), '\0');
}

// Bytes of mapped files that are resident in this process's memory.
int64_t mapped_in_memory() {
  long long pages[3] = {};
  std::FILE* file = std::fopen("/proc/self/statm", "r");
  REQUIRE(file != nullptr);
  const int read = std::fscanf(file, "%lld %lld %lld", &pages[0], &pages[1], &pages[2]);
  std::fclose(file);
  REQUIRE(read == 3);
  return pages[2] * sysconf(_SC_PAGESIZE);
}

}  // namespace

namespace {

// By how many bytes of mapped files a forward grows this process's resident memory.
int64_t grown_by_forward(int64_t vocabulary, Tape::Mode mode) {
  TinyConfig config;
  config.vocabulary = vocabulary;
  config.tied = false;
  const Architecture architecture = Architecture::parse(tiny_json(config));
  const TemporaryFolder folder;
  const Checkpoint checkpoint =
      Checkpoint::open(architecture, {folder.write("model.safetensors", zeros(tensor_specs(architecture)))}, {}, {});
  const Model model(architecture, checkpoint.tensors, DType::f32);
  const Batch batch = fitting_batch({tiny_tokens(250, 1, config.vocabulary), {0, 250}, {}, {}});
  const int64_t before = mapped_in_memory();
  Tape tape(std::make_shared<Arena>(), mode);
  model.forward(tape, batch, nullptr, false, nullptr);
  return mapped_in_memory() - before;
}

}  // namespace

TEST_CASE("a training step does not bring a mapped embedding table into memory") {
  constexpr int64_t kVocabulary = 200'000;  // 19 MB
  // The program's code is a mapped file, too: run a forward first, so that it is in memory.
  for (const auto mode : {Tape::Mode::training, Tape::Mode::inference}) grown_by_forward(100, mode);
  CHECK(grown_by_forward(kVocabulary, Tape::Mode::training) < 2 << 20);
  CHECK(grown_by_forward(kVocabulary, Tape::Mode::inference) > 4 << 20);  // inference does bring it in
}

TEST_CASE("a model with a mapped embedding table refuses a batch of a larger vocabulary") {
  TinyConfig config;
  config.tied = false;
  const Architecture architecture = Architecture::parse(tiny_json(config));
  const TemporaryFolder folder;
  const Checkpoint checkpoint =
      Checkpoint::open(architecture, {folder.write("model.safetensors", zeros(tensor_specs(architecture)))}, {}, {});
  const Model model(architecture, checkpoint.tensors, DType::f32);
  const auto last = static_cast<int32_t>(config.vocabulary) - 1;
  for (const auto& [token, code] : {std::pair{last, ""}, std::pair{last + 1, "ERR_FOREIGN"}}) {
    const Batch batch = fitting_batch({{1, token}, {0, 2}, {0}, {}});
    Tape tape(std::make_shared<Arena>(), Tape::Mode::training);
    CHECK(error_code([&] { model.forward(tape, batch, nullptr, false, nullptr); }) == code);
  }
}

TEST_CASE("training and inference read the same bits from a mapped embedding table, in every dtype") {
  TinyConfig config;
  config.tied = false;
  const Architecture architecture = Architecture::parse(tiny_json(config));
  const TemporaryFolder folder;
  const Batch batch = fitting_batch({tiny_tokens(250, 1, config.vocabulary), {0, 250}, {}, {}});
  for (const char* stored : {"F32", "BF16", "F16"})
    for (const DType compute : {DType::f32, DType::bf16}) {
      CAPTURE(stored);
      CAPTURE(dtype_name(compute));
      const std::vector<TensorSpec> specs = tensor_specs(architecture);
      std::string bytes = zeros(specs, stored);
      for (size_t i = bytes.rfind('}') + 1; i + 1 < bytes.size();
           i += 2)  // words of 0x3c00 to 0x3c7f: about 1, or 0.008
        bytes[i] = static_cast<char>(i * 7919 % 128), bytes[i + 1] = '\x3c';
      const Checkpoint checkpoint = Checkpoint::open(architecture, {folder.write("model", bytes)}, {}, {});
      const Model model(architecture, checkpoint.tensors, compute);
      const auto output = [&](Tape::Mode mode) {
        Tape tape(std::make_shared<Arena>(), mode);
        return model.forward(tape, batch, nullptr, false, nullptr).value();
      };
      CHECK(same_bits(output(Tape::Mode::training), output(Tape::Mode::inference)));
    }
}

TEST_CASE("a sharded checkpoint opens under its own names, and errors name missing and extra tensors") {
  const Architecture architecture = Architecture::parse(tiny_json({}));
  const TemporaryFolder folder;
  std::vector<TensorSpec> specs = tensor_specs(architecture);
  std::map<std::string, StoredTensor> names;
  for (const TensorSpec& spec : specs) names[spec.name] = {"model." + spec.name};
  std::vector<TensorSpec> first, second;
  for (TensorSpec spec : specs) {
    spec.name = "model." + spec.name;
    (first.size() <= second.size() ? first : second).push_back(spec);
  }
  const std::string a = folder.write("a.safetensors", zeros(first)), b = folder.write("b.safetensors", zeros(second));

  const Checkpoint checkpoint = Checkpoint::open(architecture, {a, b}, names, {});
  CHECK(checkpoint.tensors.size() == specs.size());
  CHECK(checkpoint.tensors.at("norm.weight").shape == Shape{architecture.hidden});
  const Model model(architecture, checkpoint.tensors, DType::f32);

  auto [code, message] = thrown([&] { Checkpoint::open(architecture, {a}, names, {}); });
  CHECK(code == "ERR_TENSOR_MISSING");
  CHECK(contains(message, concat("lacks ", second.size(), " tensors")));
  CHECK(contains(message, "\"" + second[4].name + "\" and " + std::to_string(second.size() - 5) + " more"));

  second.push_back({"extra.one", {2, 3}});
  const std::string c = folder.write("c.safetensors", zeros(second));
  std::tie(code, message) = thrown([&] { Checkpoint::open(architecture, {a, c}, names, {}); });
  CHECK(code == "ERR_TENSOR_UNEXPECTED");
  CHECK(contains(message, "1 tensors"));
  CHECK(contains(message, "\"extra.one\""));
  CHECK(Checkpoint::open(architecture, {a, c}, names, {"extra.one"}).tensors.size() == specs.size());

  std::tie(code, message) = thrown([&] { Checkpoint::open(architecture, {a, b, c}, names, {"extra.one"}); });
  CHECK(code == "ERR_SAFETENSORS");
  CHECK(contains(message, concat(second.size() - 1, " are in more than one")));
}

TEST_CASE("a tensor may be a part of a stored one, and stored transposed") {
  const TinyConfig config{.kv_heads = 4, .bias = true, .plain = true};  // q, k and v of one size
  const Architecture architecture = Architecture::parse(tiny_json(config));
  const int64_t hidden = config.hidden, width = config.heads * config.head_dim;
  const std::vector<TensorSpec> specs = tensor_specs(architecture);
  std::map<std::string, StoredTensor> stored;
  std::vector<TensorSpec> in_file;
  for (const TensorSpec& spec : specs) {
    const size_t at = spec.name.find("self_attn.");
    const char letter = at == std::string::npos ? ' ' : spec.name[at + 10];
    const bool matrix = spec.shape.size() == 2, fused = letter == 'q' || letter == 'k' || letter == 'v';
    if (fused) {
      const std::string name = spec.name.substr(0, at) + "qkv" + (matrix ? ".weight" : ".bias");
      stored[spec.name] = {name, (letter == 'q' ? 0 : letter == 'k' ? 1 : 2) * width, 3 * width, matrix};
      if (letter == 'q') in_file.push_back({name, matrix ? Shape{hidden, 3 * width} : Shape{3 * width}});
    } else if (matrix && spec.name.rfind("layers.", 0) == 0) {
      stored[spec.name] = {"transposed." + spec.name, 0, 0, true};
      in_file.push_back({"transposed." + spec.name, {spec.shape[1], spec.shape[0]}});
    } else {
      in_file.push_back(spec);
    }
  }
  const TemporaryFolder folder;
  for (const char* dtype : {"F32", "BF16"}) {
    std::string bytes = zeros(in_file, dtype);
    for (size_t i = bytes.rfind('}') + 1; i + 1 < bytes.size(); i += 2)  // as above
      bytes[i] = static_cast<char>(i * 7919 % 128), bytes[i + 1] = '\x3c';
    const Checkpoint checkpoint = Checkpoint::open(architecture, {folder.write("model", bytes)}, stored, {});
    const auto file = checkpoint.files.front();
    for (const TensorSpec& spec : specs) {
      CAPTURE(spec.name);
      const TensorSource& source = checkpoint.tensors.at(spec.name);
      CHECK(source.shape == spec.shape);
      const auto found = stored.find(spec.name);
      const StoredTensor at = found == stored.end() ? StoredTensor{spec.name} : found->second;
      const Tensor whole = file->tensor(at.name), tensor = in_order(source, test_arena());
      const int64_t cols = spec.shape.back(), total = at.total == 0 ? spec.shape[0] : at.total;
      int64_t different = 0;
      for (int64_t i = 0; i < tensor.count(); ++i) {
        const int64_t index = at.transposed            ? i % cols * total + at.begin + i / cols
                              : spec.shape.size() == 1 ? at.begin + i
                                                       : i;
        different += element(tensor, i) != element(whole, index);
        different +=
            std::memcmp(source.element(i), static_cast<const char*>(tensor.raw()) + i * dtype_size(tensor.dtype()),
                        static_cast<size_t>(dtype_size(tensor.dtype()))) != 0;
      }
      CHECK(different == 0);
    }
    int64_t taken = 0;
    const Model model(architecture, checkpoint.tensors, DType::f32, [&](int64_t more) { taken += more; });
    CHECK(taken == checkpoint.bytes());
  }

  const auto code = [&](const std::string& name, const StoredTensor& at) {
    auto changed = stored;
    changed[name] = at;
    return error_code([&] { Checkpoint::open(architecture, {folder.path("model")}, changed, {}); });
  };
  const std::string v = "layers.1.self_attn.v_proj.";
  CHECK(code(v + "weight", stored.at(v + "weight")) == "");
  CHECK(code(v + "weight", {stored.at(v + "weight").name, 0, 2 * width, true}) == "ERR_SHAPE");
  CHECK(code(v + "weight", {stored.at(v + "weight").name, 0, 3 * width, false}) == "ERR_SHAPE");
  CHECK(code(v + "bias", {stored.at(v + "bias").name, 2 * width, 4 * width, false}) == "ERR_SHAPE");
  CHECK(code(v + "bias", {stored.at(v + "bias").name, 3 * width, 3 * width, false}) == "ERR_INTERNAL");
}

TEST_CASE("loading reports every byte, and stops if the progress callback throws") {
  const Architecture architecture = Architecture::parse(tiny_json({}));
  const TemporaryFolder folder;
  const std::string path = folder.write("all.safetensors", zeros(tensor_specs(architecture)));
  const Checkpoint checkpoint = Checkpoint::open(architecture, {path}, {}, {});
  int64_t bytes = 0;
  const Model model(architecture, checkpoint.tensors, DType::f32, [&](int64_t more) { bytes += more; });
  CHECK(bytes == checkpoint.bytes());
  const auto stop = [](int64_t) { fail("ERR_ABORTED", "stop"); };
  CHECK(thrown([&] { Model(architecture, checkpoint.tensors, DType::f32, stop); }).first == "ERR_ABORTED");
}

TEST_CASE("a file is mapped once, under any path, until it changes") {
  const TemporaryFolder folder;
  const std::string path = folder.write("a.safetensors", zeros({{"x", {4}}}));
  std::filesystem::create_hard_link(path, folder.path("b.safetensors"));
  const auto one = open_shared_safetensors(path), other = open_shared_safetensors(folder.path("b.safetensors"));
  CHECK(one == other);
  folder.write("a.safetensors", zeros({{"x", {4}}}));  // a new file of the same name
  CHECK(open_shared_safetensors(path) != one);
  CHECK(open_shared_safetensors(folder.path("b.safetensors")) == one);
}

TEST_CASE("a mapping that lost pages is not shared with a later load of the restored file") {
  const TemporaryFolder folder;
  const std::string bytes = zeros({{"x", {1 << 16}}});
  const std::string path = folder.write("a.safetensors", bytes);
  struct stat before = {};
  REQUIRE(stat(path.c_str(), &before) == 0);
  const auto damaged = open_shared_safetensors(path);
  REQUIRE(truncate(path.c_str(), 0) == 0);
  CHECK(damaged->file()->data()[0] == 0);
  folder.write_in_place("a.safetensors", bytes);
  const timespec times[] = {before.st_atim, before.st_mtim};
  REQUIRE(utimensat(AT_FDCWD, path.c_str(), times, 0) == 0);
  const auto later = open_shared_safetensors(path);
  CHECK(later != damaged);
  later->file()->check_unchanged();
  CHECK(open_shared_safetensors(path) == later);
}
