#include "core/models/bert.h"
#include "core/nn/attention.h"
#include "core/nn/frozen.h"

namespace ta {

namespace {

/// The slot's occupant where it still is a frozen Linear, so that a fused block may take its weights.
const Linear* frozen_linear(const Slot& slot) {
  auto* linear = dynamic_cast<const Linear*>(slot.layer.get());
  return linear != nullptr && linear->frozen() ? linear : nullptr;
}

}  // namespace

BertSelfAttention::BertSelfAttention(const ModelConfig& config)
    : heads(config.num_attention_heads), dropout(config.attention_probs_dropout_prob) {
  const int64_t d = config.hidden_size;
  child("query", query, std::make_shared<Linear>(d, d));
  child("key", key, std::make_shared<Linear>(d, d));
  child("value", value, std::make_shared<Linear>(d, d));
}

at::Tensor BertSelfAttention::forward(const at::Tensor& xq, const at::Tensor& x, const TokenView& view,
                                      const ForwardContext& context) {
  const auto all = context.with(view.keys);
  return packed_attention(query(xq, context), key(x, all), value(x, all), view.queries, view.keys, heads, dropout,
                          context.random);
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
  const Linear *q = frozen_linear(self->query), *k = frozen_linear(self->key), *v = frozen_linear(self->value),
               *o = frozen_linear(output->dense);
  const bool drops = self->dropout > 0 && context.random != nullptr;
  at::Tensor h;
  if (q && k && v && o && !drops && x.device().is_cpu()) {
    h = frozen_attention(xq, x, {*q, *k, *v, *o}, view.queries, view.keys, self->heads);
  } else {
    h = output->dense(self->forward(xq, x, view, context), context);
  }
  return output->finish(h, xq, context);
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
  const Linear *in = frozen_linear(intermediate->dense), *out = frozen_linear(output->dense);
  const auto act = intermediate->activation->kind();
  at::Tensor h;
  if (in && out && has_fused_backward(act)) {
    h = frozen_feed_forward(a, *in, act, *out);
  } else {
    h = output->dense(intermediate->activation->forward(intermediate->dense(a, context)), context);
  }
  return output->finish(h, a, context);
}

}  // namespace ta
