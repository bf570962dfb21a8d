#include "ops/embedding/embedding_kernels.h"

#define RUBRICATE_KERNELS "ops/embedding/embedding_kernels.inl"
#include "device/cpu/simd/for_each_target.h"

namespace rubricate {

void embedding_forward_cpu(const EmbeddingArgs& args) { RUBRICATE_DISPATCH(embedding_forward, args); }
void embedding_backward_cpu(const EmbeddingGradArgs& args) { RUBRICATE_DISPATCH(embedding_backward, args); }

}  // namespace rubricate
