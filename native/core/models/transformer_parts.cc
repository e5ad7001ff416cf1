#include "core/models/transformer_parts.h"

#include <string_view>

#include "core/nn/named_dropout.h"

namespace ta {

SelfAttention::SelfAttention(const ModelConfig& config, const char* type, bool bias)
    : heads(config.num_attention_heads), dropout(config.attention_probs_dropout_prob), type_(type) {
  const int64_t d = config.hidden_size;
  child("query", query, lora_ready_linear(d, d, bias));
  child("key", key, lora_ready_linear(d, d, bias));
  child("value", value, lora_ready_linear(d, d, bias));
  if (!std::string_view(type_).starts_with("ViT")) child("dropout", named_dropout());  // ViT's is a number there
  child("prefix_tuning", prefix);
}

at::Tensor SelfAttention::forward(const at::Tensor& xq, const at::Tensor& x, const TokenView& view,
                                  const ForwardContext& context) {
  const auto all = context.with(view.keys);
  return prefixed_attention(*prefix, query(xq, context), {key(x, all), value(x, all), view.keys}, x, view, heads,
                            dropout, context);
}

Intermediate::Intermediate(const ModelConfig& config, const char* type) : type_(type) {
  child("dense", dense, lora_ready_linear(config.hidden_size, config.intermediate_size));
  child("intermediate_act_fn", activation, std::make_shared<Activation>(config.hidden_act));
}

Pooler::Pooler(const ModelConfig& config, const char* type) : type_(type) {
  child("dense", dense_, std::make_shared<Linear>(config.hidden_size, config.hidden_size));
  child("activation", activation_, std::make_shared<Activation>("tanh"));
}

at::Tensor Pooler::forward(const at::Tensor& x, const ForwardContext& context) {
  return activation_(dense_(x, context), context);
}

}  // namespace ta
