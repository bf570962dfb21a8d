// lib/binding/ops.ts's NativeOps: the ops on the calling thread, for benchmarks, tests and programs with own models.
#pragma once

#include <napi.h>

namespace rubricate::binding {

Napi::Object make_ops(Napi::Env env);
// The two halves, by what an op needs beside tensors.
void define_row_ops(Napi::Env env, Napi::Object ops);    // sequences, slots, tokens, targets
void define_dense_ops(Napi::Env env, Napi::Object ops);  // the others, and the optimizer's

}  // namespace rubricate::binding
