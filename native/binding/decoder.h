// NativeDecoder of lib/binding/decoder.ts.
//
// Adding and removing sequences is synchronous, even while a step runs on the model's thread. So this class assigns the
// ids; only steps use the core's decoder, or this class while no step runs.
#pragma once

#include "binding/handle.h"
#include "binding/states.h"

namespace rubricate::binding {

class DecoderHandle : public Handle<DecoderHandle, DecoderState> {
 public:
  static constexpr const char* kName = "a decoder";
  static constexpr napi_type_tag kTag = {0xe2917c5ab04d46f8, 0x8c61f7a23d905be4};
  static constexpr Napi::FunctionReference Environment::*kConstructor = &Environment::decoder;
  static Napi::Function define(Napi::Env env);
  explicit DecoderHandle(const Napi::CallbackInfo& info);

  Napi::Value add_sequence(const Napi::CallbackInfo& info);
  Napi::Value remove_sequence(const Napi::CallbackInfo& info);
  Napi::Value length(const Napi::CallbackInfo& info);
  Napi::Value step(const Napi::CallbackInfo& info);
  Napi::Value dispose(const Napi::CallbackInfo& info);

 private:
  int32_t sequence_argument(const Napi::Value& value) const;  // id of an existing sequence
};

}  // namespace rubricate::binding
