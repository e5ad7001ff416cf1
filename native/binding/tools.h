#pragma once
// Calls that need no model: what this build is, and files looked at or rewritten.

#include "binding/napi.h"

namespace ta::binding {

Napi::Value version(const Napi::CallbackInfo& info);
Napi::Value system_info(const Napi::CallbackInfo& info);
Napi::Value set_num_threads(const Napi::CallbackInfo& info);
/// probeTrunk(hiddenSize, intermediateSize, device)
Napi::Value probe_trunk(const Napi::CallbackInfo& info);
Napi::Value read_weights(const Napi::CallbackInfo& info);
Napi::Value convert_weights(const Napi::CallbackInfo& info);
Napi::Value shutdown_engine(const Napi::CallbackInfo& info);

}  // namespace ta::binding
