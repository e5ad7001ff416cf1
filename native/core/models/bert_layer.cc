#include "core/models/bert.h"

namespace ta {

BertSelfAttention::BertSelfAttention(const ModelConfig& config)
    : heads(config.num_attention_heads), dropout(config.attention_probs_dropout_prob) {
  const int64_t d = config.hidden_size;
  child("query", query, std::make_shared<Linear>(d, d));
  child("key", key, std::make_shared<Linear>(d, d));
  child("value", value, std::make_shared<Linear>(d, d));
}

BertOutput::BertOutput(const ModelConfig& config, int64_t in, const char* type)
    : type_(type), dropout_(config.hidden_dropout_prob) {
  child("dense", dense, std::make_shared<Linear>(in, config.hidden_size));
  child("LayerNorm", norm_, std::make_shared<LayerNorm>(config.hidden_size, config.layer_norm_eps));
  site_ = std::make_shared<AdapterSite>();
  child("adapters", site_);
  child("adapter_fusion_layer", site_->fusions());
}

at::Tensor BertOutput::finish(const at::Tensor& h, const at::Tensor& r, const ForwardContext& context) {
  auto dropped = dropout(h, dropout_, context.random);
  return site_->forward(dropped, r, static_cast<LayerNorm*>(norm_.layer.get()), context);
}

BertAttention::BertAttention(const ModelConfig& config)
    : self(std::make_shared<BertSelfAttention>(config)),
      output(std::make_shared<BertOutput>(config, config.hidden_size, "BertSelfOutput")) {
  child("self", self);
  child("output", output);
}

at::Tensor BertAttention::forward(const at::Tensor& xq, const at::Tensor& x, const TokenView& view,
                                  const ForwardContext& context) {
  const AttentionSlots slots{self->query, self->key, self->value, output->dense};
  return output->finish(self_attention(slots, xq, x, view, self->heads, self->dropout, context), xq, context);
}

BertIntermediate::BertIntermediate(const ModelConfig& config)
    : activation(std::make_shared<Activation>(config.hidden_act)) {
  child("dense", dense, std::make_shared<Linear>(config.hidden_size, config.intermediate_size));
  child("intermediate_act_fn", activation);
}

BertLayer::BertLayer(const ModelConfig& config)
    : attention(std::make_shared<BertAttention>(config)),
      intermediate(std::make_shared<BertIntermediate>(config)),
      output(std::make_shared<BertOutput>(config, config.intermediate_size, "BertOutput")) {
  child("attention", attention);
  child("intermediate", intermediate);
  child("output", output);
}

at::Tensor BertLayer::forward(const at::Tensor& xq, const at::Tensor& x, const TokenView& view,
                              const ForwardContext& context) {
  auto a = attention->forward(xq, x, view, context);
  auto h = feed_forward(intermediate->dense, *intermediate->activation, output->dense, a, context);
  return output->finish(h, a, context);
}

AdapterSite* BertLayer::site(Location location) const {
  return location == Location::attention ? attention->output->site() : output->site();
}

}  // namespace ta
