// Our own kernels multiply in tests unless these choose another provider: they promise the same bits for a row among
// any number of rows, which tests compare.
#define DOCTEST_CONFIG_IMPLEMENT
#include <cstdlib>

#include "doctest/doctest.h"

int main(int argc, char** argv) {
  setenv("RUBRICATE_MATMUL", "own", 0);
  return doctest::Context(argc, argv).run();
}
