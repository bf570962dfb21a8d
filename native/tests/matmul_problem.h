// A matmul for tests: random operands at odd addresses with gaps between rows, and its run on the CPU or a device.
#pragma once

#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/random.h"
#include "ops/linear/linear.h"
#include "tests/test_support.h"

namespace rubricate::testing {

// A stored matrix of random values at an odd address, with `gap` NaN elements after each row, and its values after
// rounding.
struct Matrix {
  int64_t rows, cols, stride;
  DType dtype;
  std::vector<unsigned char> bytes;
  std::vector<double> values;

  Matrix(uint64_t seed, int64_t rows, int64_t cols, DType dtype, int64_t gap = 0)
      : rows(rows), cols(cols), stride(cols + gap), dtype(dtype) {
    bytes.assign(static_cast<size_t>(rows * stride * dtype_size(dtype)) + 64, 0xff);
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < cols; ++c) {
        const auto index = static_cast<uint64_t>(r * cols + c);
        put(r, c, static_cast<float>(2.0 * philox_uniform(seed, 7, index) - 1.0));
      }
  }
  void* data() { return bytes.data() + 1; }
  const void* data() const { return bytes.data() + 1; }
  double at(int64_t r, int64_t c) const { return values[static_cast<size_t>(r * cols + c)]; }

 private:
  template <typename T>
  void put_as(int64_t r, int64_t c, float x) {
    const T stored = from_float<T>(x);
    std::memcpy(bytes.data() + 1 + (r * stride + c) * static_cast<int64_t>(sizeof(T)), &stored, sizeof(T));
    values.push_back(static_cast<double>(to_float(stored)));
  }
  void put(int64_t r, int64_t c, float x) {
    if (dtype == DType::f32) put_as<float>(r, c, x);
    if (dtype == DType::bf16) put_as<bf16>(r, c, x);
    if (dtype == DType::f16) put_as<f16>(r, c, x);
  }
};

inline double value_at(const void* data, DType dtype, int64_t index) {
  if (dtype == DType::f32) {
    float x;
    std::memcpy(&x, static_cast<const char*>(data) + 4 * index, 4);
    return static_cast<double>(x);
  }
  bf16 x;
  std::memcpy(&x, static_cast<const char*>(data) + 2 * index, 2);
  return static_cast<double>(to_float(x));
}

struct MatmulCase {
  int64_t m, n, k;
  bool a_transposed = false, b_transposed = true, accumulate = false, bias = false;
  DType a = DType::f32, b = DType::f32, c = DType::f32;
};

// op(A) and op(B), a C with a gap that must stay unchanged, and the expected values in double.
struct MatmulProblem {
  MatmulCase given;
  Matrix a, b;
  std::vector<float> bias;
  std::vector<float> c0;
  int64_t c_stride;
  int64_t columns = 0;            // of a range; 0: the whole at once
  std::function<void()> between;  // called before each range

  explicit MatmulProblem(const MatmulCase& p, int64_t a_gap = 3, int64_t b_gap = 5)
      : given(p),
        a(1, p.a_transposed ? p.k : p.m, p.a_transposed ? p.m : p.k, p.a, a_gap),
        b(2, p.b_transposed ? p.n : p.k, p.b_transposed ? p.k : p.n, p.b, b_gap),
        c_stride(p.n + 2) {
    for (int64_t j = 0; j < p.n; ++j)
      bias.push_back(static_cast<float>(philox_uniform(3, 7, static_cast<uint64_t>(j))));
    for (int64_t i = 0; i < p.m * c_stride; ++i)
      c0.push_back(static_cast<float>(philox_uniform(4, 7, static_cast<uint64_t>(i))));
  }
  double left(int64_t i, int64_t k) const { return given.a_transposed ? a.at(k, i) : a.at(i, k); }
  double right(int64_t j, int64_t k) const { return given.b_transposed ? b.at(j, k) : b.at(k, j); }

  // On a device if `stream` is one, else on the CPU, from odd addresses.
  std::vector<unsigned char> run(int64_t first = 0, int64_t rows = -1,
                                 const std::shared_ptr<Stream>& stream = nullptr) const {
    const auto arena = std::make_shared<Arena>(stream);
    std::vector<Tensor> copies;
    const auto there = [&](const void* data, size_t bytes) {
      if (!stream) return data;
      copies.push_back(Tensor::empty(arena, {static_cast<int64_t>(bytes / 4 + 1)}, DType::i32));
      stream->upload(copies.back().raw(), data, static_cast<int64_t>(bytes));
      return static_cast<const void*>(copies.back().raw());
    };
    MatmulArgs args;
    args.m = rows < 0 ? given.m : rows;
    args.n = given.n;
    args.k = given.k;
    args.a_dtype = given.a;
    args.a_stride = a.stride;
    args.a_transposed = given.a_transposed;
    args.a = static_cast<const char*>(there(a.data(), a.bytes.size() - 1)) +
             first * (given.a_transposed ? 1 : a.stride) * dtype_size(given.a);
    args.b = there(b.data(), b.bytes.size() - 1);
    args.b_dtype = given.b;
    args.b_stride = b.stride;
    args.b_transposed = given.b_transposed;
    std::vector<unsigned char> c(static_cast<size_t>(args.m * c_stride * dtype_size(given.c)), 0xa5);
    if (given.accumulate) std::memcpy(c.data(), c0.data() + first * c_stride, c.size());
    args.c = const_cast<void*>(there(c.data(), c.size()));
    args.c_dtype = given.c;
    args.c_stride = c_stride;
    args.accumulate = given.accumulate;
    args.bias = given.bias ? static_cast<const float*>(there(bias.data(), bias.size() * 4)) : nullptr;
    const Tape tape(arena, Tape::Mode::inference);
    if (columns > 0)
      matmul_in_ranges(args, columns, between);
    else
      matmul(tape, args);
    if (stream) stream->download(c.data(), args.c, static_cast<int64_t>(c.size()));
    return c;
  }
};

inline std::string name_of(const MatmulCase& p) {
  return std::to_string(p.m) + "x" + std::to_string(p.n) + "x" + std::to_string(p.k) + " " + dtype_name(p.a) + " " +
         dtype_name(p.b) + " " + dtype_name(p.c) + (p.a_transposed ? " T" : " N") + (p.b_transposed ? "T" : "N") +
         (p.accumulate ? " +=" : "") + (p.bias ? " bias" : "");
}

}  // namespace rubricate::testing
