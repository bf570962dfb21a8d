// Tests use this project's own matmul kernels unless they choose another provider: only these guarantee that a row's
// bits do not depend on the number of rows, which tests check.
#define DOCTEST_CONFIG_IMPLEMENT
#include <cstdlib>

#include "doctest/doctest.h"

int main(int argc, char** argv) {
  setenv("RUBRICATE_MATMUL", "own", 0);
  return doctest::Context(argc, argv).run();
}
