#pragma once
// Modules that BERT's family and ViT have in common, under the names that each class has in PyTorch.
// Keys: {query,key,value}.* with prefix_tuning; dense.* with intermediate_act_fn; dense.*

#include "core/models/encoder.h"

namespace ta {

/// softmax(Q Kᵀ / √d) V of every head, before the output projection.
class SelfAttention : public AttendingLayer {
 public:
  using AttendingLayer::forward;
  SelfAttention(const ModelConfig& config, const char* type, bool bias = true);
  const char* type() const override { return type_; }
  at::Tensor forward(const at::Tensor& xq, const at::Tensor& x, const TokenView& view,
                     const ForwardContext& context) override;
  LayerSize size() const override { return query.layer->size(); }

  Slot query, key, value;
  std::shared_ptr<PrefixLayer> prefix = std::make_shared<PrefixLayer>();
  int64_t heads;
  double dropout;

 private:
  const char* type_;
};

/// act(W x + b): the first half of feed-forward.
class Intermediate : public Layer {
 public:
  Intermediate(const ModelConfig& config, const char* type);
  const char* type() const override { return type_; }
  at::Tensor forward(const at::Tensor& x, const ForwardContext& context) override {
    return activation(dense(x, context), context);
  }
  LayerSize size() const override { return dense.layer->size(); }

  Slot dense;
  SlotOf<Activation> activation;

 private:
  const char* type_;
};

/// tanh(W x + b), of each row's first token.
class Pooler : public Layer {
 public:
  Pooler(const ModelConfig& config, const char* type);
  const char* type() const override { return type_; }
  at::Tensor forward(const at::Tensor& x, const ForwardContext& context) override;
  LayerSize size() const override { return dense_.layer->size(); }

 private:
  Slot dense_;
  SlotOf<Activation> activation_;
  const char* type_;
};

}  // namespace ta
