#include "core/models/bert.h"
#include "core/nn/named_dropout.h"

namespace ta {

BertOutput::BertOutput(const ModelConfig& config, int64_t in, const char* type)
    : type_(type), dropout_(config.hidden_dropout_prob) {
  const int64_t d = config.hidden_size;
  child("dense", dense, lora_ready_linear(in, d));
  child("LayerNorm", norm_, std::make_shared<LayerNorm>(config.hidden_size, config.layer_norm_eps));
  child("dropout", named_dropout());
  site_ = std::make_shared<AdapterSite>();
  child("adapters", site_);
  child("adapter_fusion_layer", site_->fusions());
}

at::Tensor BertOutput::finish(const at::Tensor& h, const at::Tensor& r, const ForwardContext& context) {
  auto dropped = dropout(h, dropout_, context.random);
  return finish_at(*site_, norm_, dropped, r, context);
}

BertAttention::BertAttention(const ModelConfig& config)
    : output(std::make_shared<BertOutput>(config, config.hidden_size, "BertSelfOutput")) {
  child("self", self, std::make_shared<SelfAttention>(config, "BertSelfAttention"));
  child("output", output);
}

at::Tensor BertAttention::forward(const at::Tensor& xq, const at::Tensor& x, const TokenView& view,
                                  const ForwardContext& context) {
  const auto* own = self.intact();
  if (own == nullptr) {
    return output->finish(output->dense(attend(self, xq, x, view, context), context), xq, context);
  }
  const AttentionSlots slots{own->query, own->key, own->value, output->dense, *own->prefix};
  return output->finish(self_attention(slots, xq, x, view, own->heads, own->dropout, context), xq, context);
}

BertLayer::BertLayer(const ModelConfig& config)
    : output(std::make_shared<BertOutput>(config, config.intermediate_size, "BertOutput")) {
  child("attention", attention, std::make_shared<BertAttention>(config));
  child("intermediate", intermediate, std::make_shared<Intermediate>(config, "BertIntermediate"));
  child("output", output);
  child("reft_layer", reft_layer(reft_));
}

at::Tensor BertLayer::forward(const at::Tensor& xq, const at::Tensor& x, const TokenView& view,
                              const ForwardContext& context) {
  return end(begin(xq, x, view, context), context);
}

bool BertLayer::begins_free(const ForwardContext& context) const {
  return !has_adapters(*attention.layer, context) && !has_adapters(*intermediate.layer, context) &&
         !has_adapters(*output->dense.layer, context);
}

LayerEnding BertLayer::begin(const at::Tensor& xq, const at::Tensor& x, const TokenView& view,
                             const ForwardContext& context) {
  auto a = attend(attention, xq, x, view, context);
  const auto* inner = intermediate.intact();
  auto h = inner != nullptr ? feed_forward(inner->dense, inner->activation, output->dense, a, context)
                            : output->dense(intermediate(a, context), context);
  return {std::move(h), std::move(a)};
}

at::Tensor BertLayer::end(const LayerEnding& ending, const ForwardContext& context) {
  return reft_->forward(output->finish(ending.h, ending.r, context), context);
}

LoraPlace* BertLayer::lora(Location location) const {
  const auto& self = *attention.own->self.own;
  return lora_place(
      {self.query, self.key, self.value, attention.own->output->dense, intermediate.own->dense, output->dense},
      location);
}

AdapterSite* BertLayer::site(Location location) const {
  return location == Location::attention ? attention.own->output->site() : output->site();
}

}  // namespace ta
