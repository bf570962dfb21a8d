// NativeOps of lib/binding/ops.ts: ops on the calling thread, for benchmarks, tests and programs with their own models.
#pragma once

#include <napi.h>

namespace rubricate::binding {

Napi::Object make_ops(Napi::Env env);
// The groups of ops.
void define_layers(Napi::Env env, Napi::Object ops);
void define_elementwise(Napi::Env env, Napi::Object ops);
void define_losses_and_optimizer(Napi::Env env, Napi::Object ops);

}  // namespace rubricate::binding
