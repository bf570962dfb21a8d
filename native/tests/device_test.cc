// Memory and streams of the device of RUBRICATE_CUDA_LIBRARY. Some conditions (a small device, a lost device) are
// tested only with the emulation.
#include "device/device.h"

#include <atomic>
#include <thread>

#include "base/random.h"
#include "device/cuda/loader.h"
#include "ops/swiglu/swiglu.h"
#include "runtime/short_work.h"
#include "tests/test_support.h"

using namespace rubricate;
using namespace rubricate::testing;

namespace {

// Whether there is a device; prints a message if not.
bool have_device() {
  if (!test_stream()) MESSAGE("not tested: RUBRICATE_CUDA_LIBRARY names no plug-in");
  return test_stream() != nullptr;
}
bool have_emulation() {
  if (!have_device()) return false;
  if (!test_stream()->device().emulated()) MESSAGE("not tested: the device is not an emulated one");
  return test_stream()->device().emulated();
}

// Sets an environment variable for a scope.
class Setting {
 public:
  Setting(const char* name, const char* value) : name_(name) { setenv(name, value, 1); }
  ~Setting() { unsetenv(name_); }
  Setting(const Setting&) = delete;
  Setting& operator=(const Setting&) = delete;

 private:
  const char* name_;
};

std::shared_ptr<Arena> arena_on(int32_t device) {
  return std::make_shared<Arena>(std::make_shared<Stream>(Device::cuda(device)));
}

}  // namespace

TEST_CASE("a device reports its properties") {
  if (!have_device()) return;
  const Device& device = test_stream()->device();
  CHECK(device.info().capability >= 75);
  CHECK(device.info().multiprocessors > 0);
  CHECK(device.info().memory_bytes > 0);
  CHECK(device.info().runtime_version >= 12000);
  CHECK(device.name().find("cuda:0 (") == 0);
  CHECK(&device == &Device::cuda(0));
  CHECK(error_code([] { Device::cuda(-1); }) == "ERR_DEVICE");
  CHECK(error_code([] { Device::cuda(Device::count()); }) == "ERR_DEVICE");
}

TEST_CASE("tensors are uploaded and downloaded with the same bits, for any size") {
  if (!have_device()) return;
  const auto here = test_arena(), there = std::make_shared<Arena>(test_stream()), elsewhere = arena_on(0);
  const int64_t used = test_stream()->device().memory().used;
  for (const int64_t count :
       {0, 1, 7, 100000, (9 << 20) / 4 + 3}) {  // the last one takes several pieces of pinned memory
    CAPTURE(count);
    const Tensor x = random_tensor(here, {count}, DType::f32, 1);
    const Tensor copy = x.copied_to(there);
    CHECK(copy.stream() == test_stream().get());
    CHECK(x.stream() == nullptr);
    CHECK(same_bits(copy, x));
    CHECK(same_bits(copy.copied_to(there), x));
    CHECK(same_bits(copy.copied_to(elsewhere), x));  // on another stream
    CHECK(same_bits(Tensor::zeros(there, {count}, DType::f32), Tensor::zeros(here, {count}, DType::f32)));
  }
  CHECK(there->stats().used == 0);
  CHECK(test_stream()->device().memory().used <= used + elsewhere->stats().used);
}

TEST_CASE("the source of an upload may change at once") {
  if (!have_device()) return;
  const auto arena = std::make_shared<Arena>(test_stream());
  std::vector<float> numbers(1000);
  std::vector<Tensor> copies;
  for (int turn = 0; turn < 50; ++turn) {
    std::fill(numbers.begin(), numbers.end(), static_cast<float>(turn));
    copies.push_back(Tensor::from_host(arena, {1000}, DType::f32, numbers.data()));
  }
  for (int turn = 0; turn < 50; ++turn)
    CHECK(to_doubles(copies[static_cast<size_t>(turn)]) == Doubles(1000, static_cast<double>(turn)));
}

TEST_CASE("an arena of a device caches blocks and reuses them") {
  if (!have_device()) return;
  const auto arena = std::make_shared<Arena>(test_stream(), true);
  void* const first = arena->allocate(1000);
  arena->release(first, 1000);
  CHECK(arena->stats().cached >= 1000);
  CHECK(arena->allocate(1000) == first);
  CHECK(arena->stats().cached == 0);
  arena->release(first, 1000);
  arena->trim();
  CHECK(arena->stats().cached == 0);
}

TEST_CASE("out of memory is an error that changes nothing") {
  if (!have_device()) return;
  Device& device = test_stream()->device();
  const auto arena = std::make_shared<Arena>(test_stream()), keeper = std::make_shared<Arena>(test_stream(), true);
  const Tensor x = random_tensor(test_arena(), {1000}, DType::f32, 1).copied_to(arena);
  keeper->release(keeper->allocate(1 << 20), 1 << 20);
  const DeviceMemory before = device.memory();
  CHECK(before.cached >= 1 << 20);
  device.set_limit(before.used + before.cached + (1 << 18));
  CHECK(error_code([&] { Tensor::empty(arena, {2 << 20}, DType::f32); }) == "ERR_OUT_OF_MEMORY");
  CHECK(device.memory().used == before.used);
  CHECK(device.memory().cached == 0);  // released before the error
  CHECK(same_bits(x, random_tensor(test_arena(), {1000}, DType::f32, 1)));
  CHECK(same_bits(Tensor::zeros(arena, {300000}, DType::f32), Tensor::zeros(test_arena(), {300000}, DType::f32)));
  device.set_limit(0);
  CHECK(error_code([&] { Tensor::empty(arena, {2 << 20}, DType::f32); }) == "");
  CHECK(device.memory().limit == 0);
  CHECK(error_code([&] { device.set_limit(-1); }) == "ERR_ARGUMENT");
}

TEST_CASE("the error of a full device reports its memory") {
  if (!have_emulation()) return;
  const auto arena = std::make_shared<Arena>(test_stream());
  const Setting memory("RUBRICATE_EMULATION_MEMORY", "1000000");
  try {
    Tensor::empty(arena, {1000000}, DType::f32);
    FAIL("expected an error");
  } catch (const Error& error) {
    CHECK(std::string(error.code()) == "ERR_OUT_OF_MEMORY");
    CHECK(std::string(error.what()).find("Could not allocate 4000000 bytes on cuda:0") == 0);
    CHECK(std::string(error.what()).find("1000000 free") != std::string::npos);
  }
}

TEST_CASE("the remembered memory follows this process's allocations, and asks the driver for nothing") {
  if (!have_emulation()) return;
  Device& device = test_stream()->device();
  const int64_t free = device.memory().free;
  CHECK(device.remembered_memory().free == free);
  void* const address = device.allocate(1 << 20);
  CHECK(device.remembered_memory().free == free - (1 << 20));
  CHECK(device.remembered_memory().used == device.memory().used);
  device.release(address, 1 << 20);
  CHECK(device.remembered_memory().free == free);
  {
    const Setting memory("RUBRICATE_EMULATION_MEMORY", "1000000");  // another process has the rest
    CHECK(device.remembered_memory().free == free);
    const int64_t less = device.memory().free;
    CHECK(less < free);
    CHECK(device.remembered_memory().free == less);
  }
  CHECK(device.memory().free == free);
}

TEST_CASE("no driver, a driver too old and no device have a message each") {
  if (!have_emulation()) return;
  const auto sentence = [](const char* setting, const char* value) -> std::string {
    const Setting scope(setting, value);
    try {
      Device::count();
    } catch (const Error& error) {
      CHECK(std::string(error.code()) == "ERR_DEVICE");
      return error.what();
    }
    return "";
  };
  CHECK(sentence("RUBRICATE_EMULATION_DRIVER", "0") == "No NVIDIA driver was found (libcuda.so.1 cannot be opened)");
  CHECK(sentence("RUBRICATE_EMULATION_DRIVER", "12040") ==
        "The NVIDIA driver supports CUDA 12.4, but CUDA 13.0 is needed: install a newer driver");
  const Setting newer("RUBRICATE_EMULATION_RUNTIME", "13020");  // an older driver of the same major version will do
  CHECK(sentence("RUBRICATE_EMULATION_DRIVER", "13000") == "");
  CHECK(sentence("RUBRICATE_EMULATION_DEVICES", "0").find("no CUDA-capable device is detected") == 0);
  CHECK(sentence("RUBRICATE_EMULATION_DEVICES", "1") == "");
}

TEST_CASE("a lost device stays lost, and other devices still work") {
  if (!have_emulation()) return;
  const Setting devices("RUBRICATE_EMULATION_DEVICES", "2");
  const auto lost = arena_on(1), fine = arena_on(0);
  const Tensor x = random_tensor(test_arena(), {4, 4}, DType::f32, 1), there = x.copied_to(lost);
  const auto compute = [](const std::shared_ptr<Arena>& arena, const Tensor& input) {
    Tape tape(arena, Tape::Mode::inference);
    return swiglu(tape, input, input).value();
  };
  const Tensor right = compute(test_arena(), x);
  CHECK(error_code([&] { compute(lost, there); }) == "");
  {
    const Setting lose("RUBRICATE_EMULATION_LOSE", "1");
    CHECK(error_code([&] { compute(lost, there); }) == "ERR_DEVICE_LOST");
  }
  CHECK(Device::cuda(1).lost());
  CHECK(error_code([&] { compute(lost, there); }) == "ERR_DEVICE_LOST");
  CHECK(error_code([&] { there.copied_to(test_arena()); }) == "ERR_DEVICE_LOST");
  CHECK(error_code([&] { Tensor::empty(lost, {8}, DType::f32); }) == "ERR_DEVICE_LOST");
  CHECK(error_code([&] { arena_on(1); }) == "ERR_DEVICE_LOST");
  CHECK(!Device::cuda(0).lost());
  CHECK(max_error(to_doubles(compute(fine, x.copied_to(fine))), to_doubles(right)) < 1e-6);
  CHECK(same_bits(compute(test_arena(), x), right));
}

TEST_CASE("an error of one launch does not lose the device, and says what can be done") {
  if (!have_emulation()) return;
  const auto arena = arena_on(0);
  const Tensor x = random_tensor(test_arena(), {4, 4}, DType::f32, 1).copied_to(arena);
  const auto error_of = [&](const char* number) -> std::string {
    const Setting fail("RUBRICATE_EMULATION_FAIL", number);
    try {
      Tape tape(arena, Tape::Mode::inference);
      swiglu(tape, x, x);
    } catch (const Error& error) {
      return concat(error.code(), " ", error.what());
    }
    return "";
  };
  CHECK(error_of("701").find("ERR_INTERNAL swiglu_forward/1 failed on cuda:0") ==
        0);                                                                // too many resources for a launch
  CHECK(error_of("222").find("ERR_DEVICE swiglu_forward/1 failed") == 0);  // PTX of a newer version
  CHECK(error_of("802").find("nvidia-fabricmanager must run") != std::string::npos);
  CHECK(!Device::cuda(0).lost());
  CHECK(error_of("0") == "");
}

TEST_CASE("the thread of a stream waits for the mark before the last one, at most every 8 kernels") {
  if (!have_device()) return;
  const auto arena = arena_on(0);
  Stream& stream = *arena->stream();
  const Tensor x = random_tensor(test_arena(), {8, 4}, DType::f32, 1).copied_to(arena);
  const auto kernels = [&](int count) {
    Tape tape(arena, Tape::Mode::inference);
    for (int i = 0; i < count; ++i) swiglu(tape, x, x);
  };
  stream.limit_backlog(true);
  for (int i = 0; i < 100; ++i) {
    kernels(1);
    stream.limit_backlog(true);
  }
  CHECK(stream.backlog_waits() == 11);  // marks after 8, 16, ..., 96 kernels; the first has none before it
  kernels(1000);
  stream.limit_backlog(true);
  stream.limit_backlog(true);
  CHECK(stream.backlog_waits() == 12);
  kernels(8);
  stream.limit_backlog(false);
  CHECK(stream.backlog_waits() == 12);
}

TEST_CASE("a long job on a device limits its backlog only while shorter work waits") {
  if (!have_device()) return;
  const auto arena = arena_on(0);
  Stream& stream = *arena->stream();
  const Tensor x = random_tensor(test_arena(), {8, 4}, DType::f32, 1).copied_to(arena);
  JobQueue queue;
  std::vector<int64_t> waits;
  std::atomic<bool> done{false};
  queue.enqueue({JobQueue::Length::extended, [&](const auto&) {
                   ShortWork others(queue, &stream);
                   Tape tape(arena, Tape::Mode::inference);
                   for (int round = 0; round < 6; ++round) {
                     for (int i = 0; i < 20; ++i) swiglu(tape, x, x);
                     if (round >= 3) queue.enqueue({JobQueue::Length::brief, [](const auto&) {}});
                     others.yield();
                     waits.push_back(stream.backlog_waits());
                   }
                   done = true;
                 }});
  while (!done) std::this_thread::yield();
  CHECK(waits == std::vector<int64_t>{0, 0, 0, 1, 2, 3});
}

TEST_CASE("the error for a missing kernel names it") {
  if (!have_device()) return;
  CHECK(error_code([] { cuda_kernel("no_such_kernel/1"); }) == "ERR_INTERNAL");
  CHECK((cuda_kernel("swiglu_forward/1") != nullptr));
}

TEST_CASE("an op refuses values on another device than its tape") {
  if (!have_device()) return;
  const Tensor here = random_tensor(test_arena(), {2, 8}, DType::f32, 1);
  const auto arena = std::make_shared<Arena>(test_stream());
  const Tensor there = here.copied_to(arena);
  Tape on_cpu(test_arena(), Tape::Mode::inference), on_device(arena, Tape::Mode::inference);
  CHECK(error_code([&] { swiglu(on_device, there, here); }) == "ERR_FOREIGN");
  CHECK(error_code([&] { swiglu(on_device, here, there); }) == "ERR_FOREIGN");
  CHECK(error_code([&] { swiglu(on_cpu, here, there); }) == "ERR_FOREIGN");
  CHECK(error_code([&] { swiglu(on_device, there, there); }) == "");
}
