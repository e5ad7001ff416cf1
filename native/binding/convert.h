#pragma once
// JavaScript values ↔ the core's plain structs. lib/ has checked what users gave; here only what would corrupt memory
// is.

#include "binding/napi.h"
#include "core/config/adapter_config.h"
#include "core/config/head_config.h"
#include "core/config/model_config.h"
#include "core/nn/packed_batch.h"
#include "core/surgery/adapter_model.h"
#include "core/training/trainer.h"

namespace ta::binding {

ModelConfig to_model_config(const Napi::Object& object);
BottleneckConfig to_bottleneck_config(const Napi::Object& object);
HeadConfig to_head_config(const Napi::Object& object);
TrainerOptions to_trainer_options(const Napi::Object& object);
Trainable to_trainable(const Napi::Object& object);
BatchInput to_batch(const Napi::Object& object);

/// Which adapters and head a pass uses, by name; indices are looked up on the engine thread.
struct PassOptions {
  std::vector<std::string> adapters;
  std::vector<std::vector<std::string>> setups;
  std::optional<std::vector<int32_t>> row_setups;
  std::string head;
  /// Instead of `head`: the heads of this batch, and for each row which of them.
  std::vector<std::string> heads;
  std::optional<std::vector<int32_t>> row_heads;
  bool hidden_states = false;
  bool last_hidden_state = false;
};
PassOptions to_pass_options(const Napi::Object& object);
ForwardRequest to_request(const PassOptions& options, const AdapterModel& model, int64_t rows);

/// A tensor on its way to JavaScript: float32 on the CPU, dense.
struct HostTensor {
  at::Tensor tensor;
  at::ScalarType original;
};
HostTensor to_host(const at::Tensor& tensor);
Napi::Object to_js(Napi::Env env, const HostTensor& tensor);
Napi::Array shape_to_js(Napi::Env env, at::IntArrayRef shape);
const char* dtype_name(at::ScalarType type);

std::vector<std::string> to_strings(const Napi::Value& value);
std::vector<float> to_floats(const Napi::Value& value);
std::vector<int64_t> to_shape(const Napi::Value& value);

}  // namespace ta::binding
