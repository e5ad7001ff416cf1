#include "binding/convert.h"

#include <c10/core/ScalarType.h>

#include <cstring>

#include "core/error.h"

namespace ta::binding {

namespace {

int64_t integer(const Napi::Object& object, const char* name) {
  return object.Get(name).As<Napi::Number>().Int64Value();
}
double number(const Napi::Object& object, const char* name) {
  return object.Get(name).As<Napi::Number>().DoubleValue();
}
bool boolean(const Napi::Object& object, const char* name) {
  return object.Get(name).ToBoolean();
}
std::string string(const Napi::Object& object, const char* name) {
  return object.Get(name).As<Napi::String>().Utf8Value();
}
bool present(const Napi::Value& value) {
  return !value.IsUndefined() && !value.IsNull();
}

[[noreturn]] void wrong_type(const std::string& what, const char* expected) {
  fail(ErrorCode::invalid_argument, "native call", "wrong argument", {.expected = what + " as " + expected});
}

std::vector<int32_t> to_ints(const Napi::Value& value, const char* name) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_int32_array) {
    wrong_type(name, "Int32Array");
  }
  auto array = value.As<Napi::Int32Array>();
  return {array.Data(), array.Data() + array.ElementLength()};
}

template <class T>
T choose(const std::string& name, std::initializer_list<std::pair<const char*, T>> options, const char* what) {
  for (const auto& [key, value] : options)
    if (name == key) return value;
  wrong_type(what, ("a known value, got '" + name + "'").c_str());
}

}  // namespace

std::vector<std::string> to_strings(const Napi::Value& value) {
  if (!value.IsArray()) wrong_type("names", "an array of strings");
  auto array = value.As<Napi::Array>();
  std::vector<std::string> result;
  for (uint32_t i = 0; i < array.Length(); ++i) result.push_back(array.Get(i).As<Napi::String>().Utf8Value());
  return result;
}

std::vector<float> to_floats(const Napi::Value& value) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_float32_array) {
    wrong_type("data", "Float32Array");
  }
  auto array = value.As<Napi::Float32Array>();
  return {array.Data(), array.Data() + array.ElementLength()};
}

std::vector<int64_t> to_shape(const Napi::Value& value) {
  auto array = value.As<Napi::Array>();
  std::vector<int64_t> shape;
  for (uint32_t i = 0; i < array.Length(); ++i) shape.push_back(array.Get(i).As<Napi::Number>().Int64Value());
  return shape;
}

ModelConfig to_model_config(const Napi::Object& object) {
  ModelConfig c;
  c.model_type = string(object, "modelType");
  c.vocab_size = integer(object, "vocabSize");
  c.hidden_size = integer(object, "hiddenSize");
  c.num_hidden_layers = integer(object, "numHiddenLayers");
  c.num_attention_heads = integer(object, "numAttentionHeads");
  c.intermediate_size = integer(object, "intermediateSize");
  c.hidden_act = string(object, "hiddenAct");
  c.hidden_dropout_prob = number(object, "hiddenDropoutProb");
  c.attention_probs_dropout_prob = number(object, "attentionProbsDropoutProb");
  c.max_position_embeddings = integer(object, "maxPositionEmbeddings");
  c.type_vocab_size = integer(object, "typeVocabSize");
  c.initializer_range = number(object, "initializerRange");
  c.layer_norm_eps = number(object, "layerNormEps");
  c.pad_token_id = integer(object, "padTokenId");
  return c;
}

BottleneckConfig to_bottleneck_config(const Napi::Object& object) {
  BottleneckConfig c;
  c.mh_adapter = boolean(object, "mh_adapter");
  c.output_adapter = boolean(object, "output_adapter");
  c.bottleneck_sizes = to_shape(object.Get("bottleneck_sizes"));
  c.non_linearity = string(object, "non_linearity");
  c.original_ln_before = boolean(object, "original_ln_before");
  c.original_ln_after = boolean(object, "original_ln_after");
  c.ln_before = boolean(object, "ln_before");
  c.ln_after = boolean(object, "ln_after");
  c.init_weights = choose<AdapterInit>(string(object, "init_weights"),
                                       {{"bert", AdapterInit::bert},
                                        {"mam_adapter", AdapterInit::mam_adapter},
                                        {"houlsby", AdapterInit::houlsby},
                                        {"zeros", AdapterInit::zeros}},
                                       "init_weights");
  if (auto seed = object.Get("init_weights_seed"); present(seed)) {
    c.init_weights_seed = static_cast<uint64_t>(seed.As<Napi::Number>().Int64Value());
  }
  c.is_parallel = boolean(object, "is_parallel");
  if (auto scaling = object.Get("scaling"); scaling.IsNumber()) {
    c.scaling_value = scaling.As<Napi::Number>().DoubleValue();
  } else {
    c.scaling = choose<Scaling>(string(object, "scaling"),
                                {{"learned", Scaling::learned}, {"channel", Scaling::channel}}, "scaling");
  }
  c.use_gating = boolean(object, "use_gating");
  if (auto residual = object.Get("residual_before_ln"); residual.IsBoolean()) {
    c.residual_before_ln = residual.ToBoolean() ? ResidualBeforeLn::yes : ResidualBeforeLn::no;
  } else {
    c.residual_before_ln = choose<ResidualBeforeLn>(string(object, "residual_before_ln"),
                                                    {{"post_add", ResidualBeforeLn::post_add}}, "residual_before_ln");
  }
  c.adapter_residual_before_ln = boolean(object, "adapter_residual_before_ln");
  c.dropout = number(object, "dropout");
  c.stochastic_depth = number(object, "stochastic_depth");
  return c;
}

HeadConfig to_head_config(const Napi::Object& object) {
  HeadConfig c;
  c.type = choose<HeadType>(string(object, "head_type"),
                            {{"classification", HeadType::classification},
                             {"multilabel_classification", HeadType::multilabel_classification},
                             {"tagging", HeadType::tagging},
                             {"masked_lm", HeadType::masked_lm}},
                            "head_type");
  c.num_labels = integer(object, "num_labels");
  c.layers = integer(object, "layers");
  c.activation_function.reset();
  if (auto act = object.Get("activation_function"); present(act)) {
    c.activation_function = act.As<Napi::String>().Utf8Value();
  }
  c.use_pooler = boolean(object, "use_pooler");
  c.bias = boolean(object, "bias");
  if (auto p = object.Get("dropout_prob"); present(p)) c.dropout_prob = p.As<Napi::Number>().DoubleValue();
  return c;
}

TrainerOptions to_trainer_options(const Napi::Object& object) {
  TrainerOptions o;
  o.learning_rate = number(object, "learningRate");
  auto betas = object.Get("betas").As<Napi::Array>();
  o.adamw.beta1 = betas.Get(0u).As<Napi::Number>().DoubleValue();
  o.adamw.beta2 = betas.Get(1u).As<Napi::Number>().DoubleValue();
  o.adamw.epsilon = number(object, "epsilon");
  o.adamw.weight_decay = number(object, "weightDecay");
  o.max_grad_norm = number(object, "maxGradNorm");
  o.schedule.kind = choose<ScheduleKind>(string(object, "schedule"),
                                         {{"linear", ScheduleKind::linear},
                                          {"cosine", ScheduleKind::cosine},
                                          {"constant", ScheduleKind::constant},
                                          {"constant_with_warmup", ScheduleKind::constant_with_warmup}},
                                         "schedule");
  o.schedule.warmup_steps = integer(object, "warmupSteps");
  o.schedule.total_steps = integer(object, "totalSteps");
  o.label_smoothing = number(object, "labelSmoothing");
  o.seed = static_cast<uint64_t>(integer(object, "seed"));
  return o;
}

Trainable to_trainable(const Napi::Object& object) {
  return {to_strings(object.Get("adapters")), to_strings(object.Get("heads")), to_strings(object.Get("base")),
          to_strings(object.Get("frozen"))};
}

BatchInput to_batch(const Napi::Object& object) {
  BatchInput batch;
  batch.ids = to_ints(object.Get("inputIds"), "inputIds");
  batch.row_lengths = to_ints(object.Get("rowLengths"), "rowLengths");
  if (auto v = object.Get("tokenTypeIds"); present(v)) batch.token_types = to_ints(v, "tokenTypeIds");
  if (auto v = object.Get("positionIds"); present(v)) batch.positions = to_ints(v, "positionIds");
  if (auto v = object.Get("labels"); present(v)) {
    if (v.IsTypedArray() && v.As<Napi::TypedArray>().TypedArrayType() == napi_float32_array) {
      batch.float_labels = to_floats(v);
    } else {
      batch.int_labels = to_ints(v, "labels");
    }
  }
  return batch;
}

PassOptions to_pass_options(const Napi::Object& object) {
  PassOptions options;
  options.adapters = to_strings(object.Get("adapters"));
  if (auto v = object.Get("setups"); present(v)) {
    auto array = v.As<Napi::Array>();
    for (uint32_t i = 0; i < array.Length(); ++i) options.setups.push_back(to_strings(array.Get(i)));
  }
  if (auto v = object.Get("rowSetups"); present(v)) options.row_setups = to_ints(v, "rowSetups");
  if (auto v = object.Get("head"); present(v)) options.head = v.As<Napi::String>().Utf8Value();
  if (auto v = object.Get("rowHeads"); present(v)) {
    options.heads = to_strings(object.Get("heads"));
    options.row_heads = to_ints(v, "rowHeads");
  }
  options.hidden_states = boolean(object, "outputHiddenStates");
  options.last_hidden_state = boolean(object, "outputLastHiddenState");
  return options;
}

ForwardRequest to_request(const PassOptions& options, const AdapterModel& model, int64_t rows) {
  ForwardRequest request;
  request.head = options.head;
  request.hidden_states = options.hidden_states;
  request.last_hidden_state = options.last_hidden_state;
  if (options.row_heads) {
    const auto count = static_cast<int64_t>(options.heads.size());
    if (static_cast<int64_t>(options.row_heads->size()) != rows) wrong_type("rowHeads", "an entry for each row");
    request.row_heads.resize(count);
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t head = (*options.row_heads)[row];
      if (head < 0 || head >= count) wrong_type("rowHeads", "indices into heads");
      request.row_heads[head].push_back(row);
    }
    request.heads = options.heads;
  }
  auto indices = [&](const std::vector<std::string>& names) {
    std::vector<int64_t> result;
    for (const auto& name : names) result.push_back(model.adapter_index(name));
    return result;
  };
  if (!options.row_setups) {
    if (!options.adapters.empty()) request.segments.push_back({0, rows, indices(options.adapters)});
    return request;
  }
  if (static_cast<int64_t>(options.row_setups->size()) != rows) {
    fail(ErrorCode::invalid_argument, "forward", "adapters do not fit the batch",
         {.expected = text(rows, " entries, one a row"), .got = text(options.row_setups->size())});
  }
  int32_t previous = -2;
  for (int64_t row = 0; row < rows; ++row) {
    const int32_t setup = (*options.row_setups)[row];
    if (setup >= static_cast<int32_t>(options.setups.size())) wrong_type("rowSetups", "indices into setups, or -1");
    if (setup == previous) {
      request.segments.back().last = row + 1;
    } else {
      request.segments.push_back({row, row + 1, setup < 0 ? std::vector<int64_t>{} : indices(options.setups[setup])});
    }
    previous = setup;
  }
  return request;
}

const char* dtype_name(at::ScalarType type) {
  switch (type) {
    case at::kFloat:
      return "float32";
    case at::kDouble:
      return "float64";
    case at::kHalf:
      return "float16";
    case at::kBFloat16:
      return "bfloat16";
    case at::kLong:
      return "int64";
    case at::kInt:
      return "int32";
    case at::kShort:
      return "int16";
    case at::kChar:
      return "int8";
    case at::kByte:
      return "uint8";
    case at::kBool:
      return "bool";
    default:
      return "unknown";
  }
}

HostTensor to_host(const at::Tensor& tensor) {
  return {tensor.detach().to(at::TensorOptions(at::kFloat).device(at::kCPU)).contiguous(), tensor.scalar_type()};
}

Napi::Array shape_to_js(Napi::Env env, at::IntArrayRef shape) {
  auto array = Napi::Array::New(env, shape.size());
  for (uint32_t i = 0; i < shape.size(); ++i) array.Set(i, Napi::Number::New(env, static_cast<double>(shape[i])));
  return array;
}

Napi::Object to_js(Napi::Env env, const HostTensor& host) {
  const auto count = static_cast<size_t>(host.tensor.numel());
  auto data = Napi::Float32Array::New(env, count);
  if (count > 0) std::memcpy(data.Data(), host.tensor.const_data_ptr<float>(), count * sizeof(float));
  auto object = Napi::Object::New(env);
  object.Set("data", data);
  object.Set("shape", shape_to_js(env, host.tensor.sizes()));
  object.Set("dtype", dtype_name(host.original));
  return object;
}

}  // namespace ta::binding
