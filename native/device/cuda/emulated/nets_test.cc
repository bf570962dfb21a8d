// The emulation finds errors: runs each kernel of broken_kernels.cc, broken and right, in a separate process.
#include <sys/wait.h>

#include <cstdio>
#include <string>
#include <vector>

#include "doctest/doctest.h"

namespace {

struct Outcome {
  int status;  // of exit; from 128: a signal
  std::string output;
};

// build: "plain", "address" (AddressSanitizer and UndefinedBehaviorSanitizer) or "races" (ThreadSanitizer).
Outcome run(const std::string& build, const std::string& kernel, const char* kind, const std::string& settings = "") {
  const std::string command =
      settings + " '" RUBRICATE_NETS_FOLDER "/broken_kernels_" + build + "' " + kernel + " " + kind + " 2>&1";
  FILE* const pipe = popen(command.c_str(), "r");
  REQUIRE(pipe != nullptr);
  Outcome outcome{0, ""};
  char text[4096];
  while (const size_t read = fread(text, 1, sizeof text, pipe)) outcome.output.append(text, read);
  const int status = pclose(pipe);
  outcome.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return outcome;
}

struct Net {
  const char* kernel;
  const char* build;
  const char* report;  // must be part of the output
};

const Net nets[] = {
    {"global_overrun", "address", "heap-buffer-overflow"},
    {"dynamic_overrun", "address", "heap-buffer-overflow"},
    {"static_overrun", "address", "heap-buffer-overflow"},
    {"missing_barrier", "races", "data race"},
    {"missing_second_barrier", "races", "data race"},
    {"missing_warp_sync", "races", "data race"},
    {"race_between_blocks", "races", "data race"},
    {"divergent_barrier", "plain", "__syncthreads reached at different lines"},
    {"missing_lanes", "plain", "deadlock: every thread waits"},
    {"misaligned", "plain", "not aligned to its size"},
};

}  // namespace

TEST_CASE("each class of error ends the process with a report that names its line") {
  for (const Net& net : nets) {
    CAPTURE(net.kernel);
    const Outcome broken = run(net.build, net.kernel, "broken");
    CAPTURE(broken.output);
    CHECK(broken.status != 0);
    CHECK(broken.output.find(net.report) != std::string::npos);
    // misaligned is found inside the load function, so the report has the load's name.
    if (std::string(net.kernel) != "misaligned") CHECK(broken.output.find("broken_kernels.cc:") != std::string::npos);
  }
}

TEST_CASE("unwritten memory is NaN, or an impossible result") {
  for (const char* const kernel : {"unwritten_global", "unwritten_shared", "missing_wait"}) {
    CAPTURE(kernel);
    const Outcome broken = run("plain", kernel, "broken");
    CHECK(broken.status == 0);
    CHECK(broken.output.find("nan") != std::string::npos);
  }
  // GCC's pattern for locals, 0xfefefefe, is -1.7e38 as a float: a sum of four is larger than any result.
  CHECK(run("plain", "unwritten_local", "broken").output.find("inf") != std::string::npos);
}

TEST_CASE("host code cannot read device memory") {
  CHECK(run("plain", "read_by_host", "right").status == 0);
  const Outcome broken = run("plain", "read_by_host", "broken");
  CHECK(broken.status != 0);
  CHECK(broken.status != 1);  // it did not reach the comparison
}

TEST_CASE("a missing barrier also changes the results of a shuffled order") {
  const Outcome right = run("plain", "missing_barrier", "right");
  CHECK(run("plain", "missing_barrier", "broken", "RUBRICATE_EMULATION_SEED=3").output != right.output);
  for (int seed = 1; seed <= 20; ++seed)
    CHECK(run("plain", "missing_barrier", "right", "RUBRICATE_EMULATION_SEED=" + std::to_string(seed)).output ==
          right.output);
}

TEST_CASE("kernels without the error pass in every build and give the same result") {
  std::vector<std::string> kernels{"unwritten_global", "unwritten_shared", "unwritten_local", "missing_wait"};
  for (const Net& net : nets) kernels.emplace_back(net.kernel);
  for (const std::string& kernel : kernels) {
    CAPTURE(kernel);
    const Outcome plain = run("plain", kernel, "right");
    CHECK(plain.status == 0);
    CHECK(plain.output.find("nan") == std::string::npos);
    for (const char* const build : {"address", "races"}) {
      const Outcome outcome = run(build, kernel, "right");
      CAPTURE(build);
      CHECK(outcome.status == 0);
      CHECK(outcome.output == plain.output);
    }
  }
}
