#pragma once
// JavaScript values ↔ the core's plain structs. lib/ has checked what users gave; here only what would corrupt memory
// is.

#include "binding/napi.h"
#include "core/config/adapter_config.h"
#include "core/config/head_config.h"
#include "core/config/model_config.h"
#include "core/surgery/adapter_model.h"

namespace ta::binding {

ModelConfig to_model_config(const Napi::Object& object);
AdapterConfig to_adapter_config(const Napi::Object& object);
FusionConfig to_fusion_config(const Napi::Object& object);
HeadConfig to_head_config(const Napi::Object& object);
Trainable to_trainable(const Napi::Object& object);
/// A tensor on its way to JavaScript: float32 on the CPU, dense.
struct HostTensor {
  at::Tensor tensor;
  at::ScalarType original;
};
HostTensor to_host(const at::Tensor& tensor);
Napi::Object to_js(Napi::Env env, const HostTensor& tensor);
Napi::Array shape_to_js(Napi::Env env, at::IntArrayRef shape);
const char* dtype_name(at::ScalarType type);

/// Neither undefined nor null.
bool present(const Napi::Value& value);
[[noreturn]] void wrong_type(const std::string& what, const char* expected);
/// Of an Int32Array; `name` is for the message.
std::vector<int32_t> to_ints(const Napi::Value& value, const char* name);
std::vector<std::string> to_strings(const Napi::Value& value);
std::vector<float> to_floats(const Napi::Value& value);
/// Rows, each a Float32Array, copied once: [rows, longest], zeros behind shorter ones. `lengths`: of each; empty where
/// all are of one length.
at::Tensor to_float_rows(const Napi::Value& value, const char* name, std::vector<int32_t>& lengths);
std::vector<int64_t> to_shape(const Napi::Value& value);
/// Null or left out: nothing is loaded.
std::optional<WeightsSource> to_weights_source(const Napi::Value& value);

}  // namespace ta::binding
