// Other libraries' matmuls, if CMake found them: OpenBLAS (Debian's libopenblas-dev) and oneDNN (libdnnl-dev).
#pragma once

#include <exception>
#include <functional>
#include <string>
#include <vector>

#include "ops/linear/linear.h"

#if defined(RUBRICATE_BENCH_OPENBLAS)
#include <cblas.h>
#endif
#if defined(RUBRICATE_BENCH_ONEDNN)
#include <dnnl.hpp>
#include <unordered_map>

extern "C" void omp_set_num_threads(int);  // of oneDNN's OpenMP library
#endif

namespace rubricate {

struct Peer {
  std::string name;
  std::function<void()> run;  // computes args again
};

#if defined(RUBRICATE_BENCH_OPENBLAS)
inline void add_openblas(std::vector<Peer>& peers, const MatmulArgs& args, int threads) {
  if (args.a_dtype != DType::f32 || args.b_dtype != DType::f32) return;
  openblas_set_num_threads(threads);
  peers.push_back({"OpenBLAS", [&args] {
                     const auto side = [](bool transposed) { return transposed ? CblasTrans : CblasNoTrans; };
                     const auto size = [](int64_t n) { return static_cast<blasint>(n); };
                     cblas_sgemm(CblasRowMajor, side(args.a_transposed), side(args.b_transposed), size(args.m),
                                 size(args.n), size(args.k), 1.0f, static_cast<const float*>(args.a),
                                 size(args.a_stride), static_cast<const float*>(args.b), size(args.b_stride), 0.0f,
                                 static_cast<float*>(args.c), size(args.c_stride));
                   }});
}
#endif

#if defined(RUBRICATE_BENCH_ONEDNN)
inline void add_onednn(std::vector<Peer>& peers, const MatmulArgs& args, int threads) {
  using namespace dnnl;
  omp_set_num_threads(threads);
  const auto type = [](DType dtype) { return dtype == DType::f32 ? memory::data_type::f32 : memory::data_type::bf16; };
  const auto desc = [](int64_t rows, int64_t cols, memory::data_type of, int64_t stride, bool transposed) {
    return memory::desc({rows, cols}, of, transposed ? memory::dims{1, stride} : memory::dims{stride, 1});
  };
  const memory::desc a = desc(args.m, args.k, type(args.a_dtype), args.a_stride, args.a_transposed);
  const memory::desc b = desc(args.k, args.n, type(args.b_dtype), args.b_stride, args.b_transposed);
  const memory::desc c = desc(args.m, args.n, type(args.c_dtype), args.c_stride, false);
  try {
    static const engine processor(engine::kind::cpu, 0);
    static stream work(processor);
    using Product = dnnl::matmul;
    const Product product(Product::primitive_desc(Product::desc(a, b, c), processor));
    const auto at = [](const memory::desc& place, const void* data) {
      return memory(place, processor, const_cast<void*>(data));
    };
    const std::unordered_map<int, memory> operands = {
        {DNNL_ARG_SRC, at(a, args.a)}, {DNNL_ARG_WEIGHTS, at(b, args.b)}, {DNNL_ARG_DST, at(c, args.c)}};
    peers.push_back({"oneDNN", [product, operands] {
                       product.execute(work, operands);
                       work.wait();
                     }});
  } catch (const dnnl::error&) {  // not supported on this processor
  }
}
#endif

// The libraries that can compute args on that many threads; args must outlive the result.
inline std::vector<Peer> peers_of([[maybe_unused]] const MatmulArgs& args, [[maybe_unused]] int threads) {
  std::vector<Peer> peers;
#if defined(RUBRICATE_BENCH_OPENBLAS)
  add_openblas(peers, args, threads);
#endif
#if defined(RUBRICATE_BENCH_ONEDNN)
  add_onednn(peers, args, threads);
#endif
  return peers;
}

}  // namespace rubricate
