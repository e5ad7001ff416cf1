#include "binding/convert.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <c10/core/ScalarType.h>

#include <algorithm>
#include <cstring>

#include "binding/fields.h"
#include "core/error.h"

namespace ta::binding {

bool present(const Napi::Value& value) {
  return !value.IsUndefined() && !value.IsNull();
}

void wrong_type(const std::string& what, const char* expected) {
  fail(ErrorCode::invalid_argument, "native call", "wrong argument", {.expected = what + " as " + expected});
}

std::vector<int32_t> to_ints(const Napi::Value& value, const char* name) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_int32_array) {
    wrong_type(name, "Int32Array");
  }
  auto array = value.As<Napi::Int32Array>();
  return {array.Data(), array.Data() + array.ElementLength()};
}

std::vector<std::string> to_strings(const Napi::Value& value) {
  if (!value.IsArray()) wrong_type("names", "an array of strings");
  auto array = value.As<Napi::Array>();
  std::vector<std::string> result;
  for (uint32_t i = 0; i < array.Length(); ++i) result.push_back(array.Get(i).As<Napi::String>().Utf8Value());
  return result;
}

std::optional<WeightsSource> to_weights_source(const Napi::Value& value) {
  if (!present(value)) return std::nullopt;
  auto object = value.As<Napi::Object>();
  return WeightsSource{object.Get("path").As<Napi::String>().Utf8Value(),
                       object.Get("bytes").As<Napi::Number>().DoubleValue()};
}

std::vector<float> to_floats(const Napi::Value& value) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_float32_array) {
    wrong_type("data", "Float32Array");
  }
  auto array = value.As<Napi::Float32Array>();
  return {array.Data(), array.Data() + array.ElementLength()};
}

at::Tensor to_float_rows(const Napi::Value& value, const char* name, std::vector<int32_t>& lengths) {
  if (!value.IsArray()) wrong_type(name, "an array of Float32Array");
  const auto array = value.As<Napi::Array>();
  lengths.clear();
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const Napi::Value row = array.Get(i);
    if (!row.IsTypedArray() || row.As<Napi::TypedArray>().TypedArrayType() != napi_float32_array)
      wrong_type(name, "an array of Float32Array");
    lengths.push_back(static_cast<int32_t>(row.As<Napi::Float32Array>().ElementLength()));
  }
  if (lengths.empty()) wrong_type(name, "at least one row");
  const int64_t longest = *std::max_element(lengths.begin(), lengths.end());
  const bool even = *std::min_element(lengths.begin(), lengths.end()) == longest;
  const std::vector<int64_t> sizes{static_cast<int64_t>(lengths.size()), longest};
  const at::TensorOptions options(at::kFloat);
  auto rows = even ? at::empty(sizes, options) : at::zeros(sizes, options);
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const Napi::Value row = array.Get(i);
    const auto values = row.As<Napi::Float32Array>();
    if (lengths[i] > 0)
      std::memcpy(rows.mutable_data_ptr<float>() + i * longest, values.Data(), lengths[i] * sizeof(float));
  }
  if (even) lengths.clear();
  return rows;
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
  c.embedding_size = integer(object, "embeddingSize");
  c.hidden_size = integer(object, "hiddenSize");
  c.num_hidden_layers = integer(object, "numHiddenLayers");
  c.num_attention_heads = integer(object, "numAttentionHeads");
  c.intermediate_size = integer(object, "intermediateSize");
  c.hidden_act = string(object, "hiddenAct");
  c.embedding_dropout_prob = number(object, "embeddingDropoutProb");
  c.hidden_dropout_prob = number(object, "hiddenDropoutProb");
  c.attention_probs_dropout_prob = number(object, "attentionProbsDropoutProb");
  c.max_position_embeddings = integer(object, "maxPositionEmbeddings");
  c.sinusoidal_pos_embds = boolean(object, "sinusoidalPosEmbds");
  c.type_vocab_size = integer(object, "typeVocabSize");
  c.initializer_range = number(object, "initializerRange");
  c.layer_norm_eps = number(object, "layerNormEps");
  c.pad_token_id = integer(object, "padTokenId");
  c.qkv_bias = boolean(object, "qkvBias");
  if (auto image = object.Get("image"); present(image)) {
    const auto fields = image.As<Napi::Object>();
    c.image = ImageShape{integer(fields, "channels"), integer(fields, "height"), integer(fields, "width"),
                         integer(fields, "patchHeight"), integer(fields, "patchWidth")};
  }
  return c;
}

namespace {

std::optional<uint64_t> seed_of(const Napi::Object& object) {
  auto seed = object.Get("init_weights_seed");
  if (!present(seed)) return std::nullopt;
  return static_cast<uint64_t>(seed.As<Napi::Number>().Int64Value());
}

PhmConfig to_phm_config(const Napi::Object& object) {
  PhmConfig c;
  c.dim = integer(object, "dim");
  c.factorized_weights = boolean(object, "factorized_weights");
  c.shared_weights = boolean(object, "shared_weights");
  c.shared_rule = boolean(object, "shared_rule");
  c.factorized_rule = boolean(object, "factorized_rule");
  c.uniform_rule = boolean(object, "uniform_rule");
  c.init_range = number(object, "init_range");
  c.learn_rule = boolean(object, "learn_rule");
  c.w_init = choose<PhmWeightInit>(string(object, "weight_init"),
                                   {{"glorot-uniform", PhmWeightInit::glorot_uniform},
                                    {"glorot-normal", PhmWeightInit::glorot_normal},
                                    {"normal", PhmWeightInit::normal}},
                                   "weight_init");
  c.rank = integer(object, "rank");
  c.bias = boolean(object, "bias");
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
  c.init_weights_seed = seed_of(object);
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
  if (auto invertible = object.Get("invertible"); present(invertible)) {
    const auto fields = invertible.As<Napi::Object>();
    c.invertible =
        InvertibleConfig{boolean(fields, "glow"), integer(fields, "first_inner"), integer(fields, "second_inner")};
  }
  if (auto phm = object.Get("phm"); present(phm)) c.phm = to_phm_config(phm.As<Napi::Object>());
  return c;
}

OutputAdapterConfig to_output_adapter_config(const Napi::Object& object) {
  return {object.Get("adapter_size").As<Napi::Number>().Int64Value(),
          object.Get("activation").As<Napi::String>().Utf8Value(), std::nullopt};
}

PrefixConfig to_prefix_config(const Napi::Object& object) {
  PrefixConfig c;
  c.lengths = to_shape(object.Get("lengths"));
  c.flat = boolean(object, "flat");
  c.bottleneck_size = integer(object, "bottleneck_size");
  c.non_linearity = string(object, "non_linearity");
  c.dropout = number(object, "dropout");
  c.use_gating = boolean(object, "use_gating");
  c.shared_gating = boolean(object, "shared_gating");
  c.shifts_positions = boolean(object, "shifts_positions");
  c.init_weights_seed = seed_of(object);
  return c;
}

PromptConfig to_prompt_config(const Napi::Object& object) {
  PromptConfig c;
  c.length = integer(object, "length");
  c.after_first = boolean(object, "after_first");
  c.as_words = boolean(object, "as_words");
  c.random_uniform_scale = number(object, "random_uniform_scale");
  c.start_ids = to_shape(object.Get("start_ids"));
  c.init_weights_seed = seed_of(object);
  return c;
}

ReftConfig to_reft_config(const Napi::Object& object) {
  ReftConfig c;
  c.ranks = to_shape(object.Get("ranks"));
  c.prefix_positions = integer(object, "prefix_positions");
  c.suffix_positions = integer(object, "suffix_positions");
  c.orthogonality = boolean(object, "orthogonality");
  c.tied_weights = boolean(object, "tied_weights");
  c.subtract_projection = boolean(object, "subtract_projection");
  c.dropout = number(object, "dropout");
  if (auto name = object.Get("non_linearity"); present(name)) c.non_linearity = name.As<Napi::String>().Utf8Value();
  c.init_weights_seed = seed_of(object);
  return c;
}

LoraConfig to_lora_config(const Napi::Object& object) {
  LoraConfig c;
  c.query = boolean(object, "query");
  c.key = boolean(object, "key");
  c.value = boolean(object, "value");
  c.merged = boolean(object, "query_key_value");
  c.attention_output = boolean(object, "attention_output");
  c.intermediate = boolean(object, "intermediate");
  c.output = boolean(object, "output");
  c.linears = to_strings(object.Get("linears"));
  c.rank = integer(object, "rank");
  c.leave_out = to_shape(object.Get("leave_out"));
  c.alpha = number(object, "alpha");
  c.dropout = number(object, "dropout");
  c.scales = choose<Scales>(string(object, "scales"),
                            {{"none", Scales::none}, {"output", Scales::output}, {"input", Scales::input}}, "scales");
  c.init_weights = choose<LoraInit>(
      string(object, "init_weights"),
      {{"lora", LoraInit::lora}, {"bert", LoraInit::bert}, {"ia3", LoraInit::ia3}, {"vera", LoraInit::vera}},
      "init_weights");
  c.init_weights_seed = seed_of(object);
  c.use_gating = boolean(object, "use_gating");
  c.dora = choose<Dora>(string(object, "dora"),
                        {{"none", Dora::none}, {"adapters", Dora::adapters}, {"peft", Dora::peft}}, "dora");
  if (present(object.Get("vera_d"))) {
    c.vera_d = number(object, "vera_d");
    c.vera_b = number(object, "vera_b");
  }
  if (auto mtl = object.Get("mtl"); present(mtl)) {
    auto fields = mtl.As<Napi::Object>();
    c.mtl = MtlLoraConfig{integer(fields, "up_projections"), boolean(fields, "linear"),
                          number(fields, "weights_sharpness")};
  }
  return c;
}

}  // namespace

AdapterConfig to_adapter_config(const Napi::Object& object) {
  const auto method = string(object, "method");
  if (method == "lora") return to_lora_config(object);
  if (method == "prefix_tuning") return to_prefix_config(object);
  if (method == "prompt_tuning") return to_prompt_config(object);
  if (method == "reft") return to_reft_config(object);
  if (method == "output") return to_output_adapter_config(object);
  return to_bottleneck_config(object);
}

HeadConfig to_head_config(const Napi::Object& object) {
  HeadConfig c;
  c.type = choose<HeadType>(string(object, "head_type"),
                            {{"classification", HeadType::classification},
                             {"multilabel_classification", HeadType::multilabel_classification},
                             {"tagging", HeadType::tagging},
                             {"question_answering", HeadType::question_answering},
                             {"multiple_choice", HeadType::multiple_choice},
                             {"dependency_parsing", HeadType::dependency_parsing},
                             {"masked_lm", HeadType::masked_lm},
                             {"causal_lm", HeadType::causal_lm}},
                            "head_type");
  c.num_labels = integer(object, "num_labels");
  c.layers = integer(object, "layers");
  c.activation_function.reset();
  if (auto act = object.Get("activation_function"); present(act)) {
    c.activation_function = act.As<Napi::String>().Utf8Value();
  }
  c.use_pooler = boolean(object, "use_pooler");
  c.bias = boolean(object, "bias");
  c.layer_norm = boolean(object, "layer_norm");
  c.tied = boolean(object, "tied");
  if (auto p = object.Get("dropout_prob"); present(p)) c.dropout_prob = p.As<Napi::Number>().DoubleValue();
  return c;
}

FusionConfig to_fusion_config(const Napi::Object& object) {
  FusionConfig c;
  c.key = boolean(object, "key");
  c.query = boolean(object, "query");
  c.value = boolean(object, "value");
  c.query_before_ln = boolean(object, "query_before_ln");
  c.regularization = boolean(object, "regularization");
  c.residual_before = boolean(object, "residual_before");
  c.temperature = boolean(object, "temperature");
  c.value_initialized = boolean(object, "value_initialized");
  c.dropout_prob = number(object, "dropout_prob");
  return c;
}

Trainable to_trainable(const Napi::Object& object) {
  return {to_strings(object.Get("adapters")), to_strings(object.Get("heads")),
          to_strings(object.Get("base")),     to_strings(object.Get("frozen")),
          to_strings(object.Get("fusions")),  object.Get("inserted").ToBoolean().Value()};
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
