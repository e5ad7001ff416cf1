#include "core/models/distilbert.h"
#include "core/nn/named_dropout.h"

namespace ta {

DistilBertAttention::DistilBertAttention(const ModelConfig& config)
    : heads_(config.num_attention_heads), dropout_(config.attention_probs_dropout_prob) {
  const int64_t d = config.hidden_size;
  child("dropout", named_dropout());
  child("q_lin", query, lora_ready_linear(d, d));
  child("k_lin", key, lora_ready_linear(d, d));
  child("v_lin", value, lora_ready_linear(d, d));
  child("out_lin", output, lora_ready_linear(d, d));
  child("prefix_tuning", prefix);
}

at::Tensor DistilBertAttention::forward(const at::Tensor& xq, const at::Tensor& x, const TokenView& view,
                                        const ForwardContext& context) {
  return self_attention({query, key, value, output, *prefix}, xq, x, view, heads_, dropout_, context);
}

DistilBertFeedForward::DistilBertFeedForward(const ModelConfig& config) : dropout(config.hidden_dropout_prob) {
  child("dropout", named_dropout());
  child("lin1", in, lora_ready_linear(config.hidden_size, config.intermediate_size));
  child("lin2", out, lora_ready_linear(config.intermediate_size, config.hidden_size));
  child("activation", activation, std::make_shared<Activation>(config.hidden_act));
}

at::Tensor DistilBertFeedForward::forward(const at::Tensor& x, const ForwardContext& context) {
  return ta::dropout(feed_forward(in, activation, out, x, context), dropout, context.random);
}

DistilBertBlock::DistilBertBlock(const ModelConfig& config)
    : attention_site_(std::make_shared<AdapterSite>()), output_site_(std::make_shared<AdapterSite>()) {
  auto norm = [&] { return std::make_shared<LayerNorm>(config.hidden_size, config.layer_norm_eps); };
  child("attention", attention_, std::make_shared<DistilBertAttention>(config));
  child("sa_layer_norm", attention_norm_, norm());
  child("ffn", feed_forward_, std::make_shared<DistilBertFeedForward>(config));
  child("output_layer_norm", output_norm_, norm());
  child("attention_adapters", bottleneck_layer(attention_site_));
  child("output_adapters", bottleneck_layer(output_site_));
  child("reft_layer", reft_layer(reft_));
}

at::Tensor DistilBertBlock::forward(const at::Tensor& xq, const at::Tensor& x, const TokenView& view,
                                    const ForwardContext& context) {
  return end(begin(xq, x, view, context), context);
}

bool DistilBertBlock::begins_free(const ForwardContext& context) const {
  return !has_adapters(*attention_.layer, context) && !has_adapters(*attention_site_, context) &&
         !has_adapters(*feed_forward_.layer, context);
}

LayerEnding DistilBertBlock::begin(const at::Tensor& xq, const at::Tensor& x, const TokenView& view,
                                   const ForwardContext& context) {
  auto h = attend(attention_, xq, x, view, context);
  auto a = finish_at(*attention_site_, attention_norm_, h, xq, context);
  const auto* inner = feed_forward_.intact();
  auto f =
      inner != nullptr ? feed_forward(inner->in, inner->activation, inner->out, a, context) : feed_forward_(a, context);
  return {std::move(f), std::move(a)};
}

at::Tensor DistilBertBlock::end(const LayerEnding& ending, const ForwardContext& context) {
  const auto* inner = feed_forward_.intact();
  const auto h = inner != nullptr ? dropout(ending.h, inner->dropout, context.random) : ending.h;
  return reft_->forward(finish_at(*output_site_, output_norm_, h, ending.r, context), context);
}

LoraPlace* DistilBertBlock::lora(Location location) const {
  const auto& self = *attention_.own;
  return lora_place({self.query, self.key, self.value, self.output, feed_forward_.own->in, feed_forward_.own->out},
                    location);
}

AdapterSite* DistilBertBlock::site(Location location) const {
  return location == Location::attention ? attention_site_.get() : output_site_.get();
}

DistilBertModel::DistilBertModel(const ModelConfig& config)
    : Encoder(config), embeddings_(std::make_shared<BertEmbeddings>(config)) {
  child("embeddings", embeddings_);
  auto list = std::make_shared<Container>("ModuleList");
  for (int64_t i = 0; i < config.num_hidden_layers; ++i) {
    add_layer(*list, std::make_shared<DistilBertBlock>(config));
  }
  auto transformer = std::make_shared<Container>("Transformer");
  transformer->add("layer", list);
  child("transformer", transformer);
}

}  // namespace ta
