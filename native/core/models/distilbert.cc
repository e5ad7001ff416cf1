#include "core/models/distilbert.h"

namespace ta {

DistilBertAttention::DistilBertAttention(const ModelConfig& config) {
  const int64_t d = config.hidden_size;
  child("q_lin", query, std::make_shared<Linear>(d, d));
  child("k_lin", key, std::make_shared<Linear>(d, d));
  child("v_lin", value, std::make_shared<Linear>(d, d));
  child("out_lin", output, std::make_shared<Linear>(d, d));
}

DistilBertFeedForward::DistilBertFeedForward(const ModelConfig& config)
    : activation(std::make_shared<Activation>(config.hidden_act)) {
  child("lin1", in, std::make_shared<Linear>(config.hidden_size, config.intermediate_size));
  child("lin2", out, std::make_shared<Linear>(config.intermediate_size, config.hidden_size));
  child("activation", activation);
}

DistilBertBlock::DistilBertBlock(const ModelConfig& config)
    : attention_(std::make_shared<DistilBertAttention>(config)),
      feed_forward_(std::make_shared<DistilBertFeedForward>(config)),
      attention_site_(std::make_shared<AdapterSite>()),
      output_site_(std::make_shared<AdapterSite>()),
      heads_(config.num_attention_heads),
      attention_dropout_(config.attention_probs_dropout_prob),
      dropout_(config.hidden_dropout_prob) {
  auto norm = [&] { return std::make_shared<LayerNorm>(config.hidden_size, config.layer_norm_eps); };
  child("attention", attention_);
  child("sa_layer_norm", attention_norm_, norm());
  child("ffn", feed_forward_);
  child("output_layer_norm", output_norm_, norm());
  child("attention_adapters", bottleneck_layer(attention_site_));
  child("output_adapters", bottleneck_layer(output_site_));
}

at::Tensor DistilBertBlock::forward(const at::Tensor& xq, const at::Tensor& x, const TokenView& view,
                                    const ForwardContext& context) {
  const AttentionSlots slots{attention_->query, attention_->key, attention_->value, attention_->output};
  auto h = self_attention(slots, xq, x, view, heads_, attention_dropout_, context);
  auto a = attention_site_->forward(h, xq, static_cast<LayerNorm*>(attention_norm_.layer.get()), context);
  auto f = feed_forward(feed_forward_->in, *feed_forward_->activation, feed_forward_->out, a, context);
  return output_site_->forward(dropout(f, dropout_, context.random), a,
                               static_cast<LayerNorm*>(output_norm_.layer.get()), context);
}

AdapterSite* DistilBertBlock::site(Location location) const {
  return location == Location::attention ? attention_site_.get() : output_site_.get();
}

DistilBertModel::DistilBertModel(const ModelConfig& config)
    : Encoder(config), embeddings_(std::make_shared<BertEmbeddings>(config)) {
  child("embeddings", embeddings_);
  auto list = std::make_shared<Container>("ModuleList");
  for (int64_t i = 0; i < config.num_hidden_layers; ++i) {
    layers_.push_back(std::make_shared<DistilBertBlock>(config));
    list->add(std::to_string(i), layers_.back());
  }
  auto transformer = std::make_shared<Container>("Transformer");
  transformer->add("layer", list);
  child("transformer", transformer);
}

}  // namespace ta
