#pragma once
// The Vision Transformer (Dosovitskiy et al. 2020, arXiv 2010.11929): an image is a row of patches with a class token
// in front, in a pre-LN encoder.
//   x = dropout([cls; patches Wᵀ + b] + positions)            (vit_embeddings.h)
//   a = x + dropout(attention(LN1(x)) Wo + bo)     y = a + dropout(act(LN2(a) W1 + b1) W2 + b2)      for each layer
//   LNf(y) after the last; pooler: tanh(W y_0 + b)
// Adapters take the place of the two sums; they know no LayerNorm of the model's.
// PyTorch keys: embeddings.*, encoder.layer.<i>.attention.attention.{query,key,value}.*, .attention.output.dense.*,
// .intermediate.dense.*, .output.dense.*, .layernorm_{before,after}.*, layernorm.*, pooler.dense.*. Adapters:
// encoder.layer.<i>.attention_adapters.adapters, .output.output_adapters.adapters.

#include "core/models/transformer_parts.h"
#include "core/models/vit_embeddings.h"

namespace ta {

/// dense, then dropout: ViTSelfOutput.
class VitSelfOutput : public Layer {
 public:
  explicit VitSelfOutput(const ModelConfig& config);
  const char* type() const override { return "ViTSelfOutput"; }
  at::Tensor forward(const at::Tensor& x, const ForwardContext& context) override {
    return ta::dropout(dense(x, context), dropout, context.random);
  }
  LayerSize size() const override { return dense.layer->size(); }

  Slot dense;
  double dropout;
};

class VitAttention : public AttendingLayer {
 public:
  using AttendingLayer::forward;
  explicit VitAttention(const ModelConfig& config);
  const char* type() const override { return "ViTAttention"; }
  /// xq, x: after the LayerNorm.
  at::Tensor forward(const at::Tensor& xq, const at::Tensor& x, const TokenView& view,
                     const ForwardContext& context) override;
  LayerSize size() const override { return self.own->size(); }

  SlotOf<SelfAttention> self;
  SlotOf<VitSelfOutput> output;
};

/// dense, dropout, then the site: ViTOutput.
class VitOutput : public Module {
 public:
  explicit VitOutput(const ModelConfig& config);
  const char* type() const override { return "ViTOutput"; }
  /// h: the dense layer's output, before dropout.
  at::Tensor finish(const at::Tensor& h, const at::Tensor& r, const ForwardContext& context) {
    return site->forward(ta::dropout(h, dropout, context.random), r, nullptr, context);
  }

  Slot dense;
  std::shared_ptr<AdapterSite> site = std::make_shared<AdapterSite>();
  double dropout;
};

class VitLayer : public EncoderLayer {
 public:
  using EncoderLayer::forward;
  explicit VitLayer(const ModelConfig& config);
  const char* type() const override { return "ViTLayer"; }
  bool begins_free(const ForwardContext& context) const override;
  LayerEnding begin(const at::Tensor& xq, const at::Tensor& x, const TokenView& view,
                    const ForwardContext& context) override;
  at::Tensor end(const LayerEnding& ending, const ForwardContext& context) override;
  at::Tensor forward(const at::Tensor& xq, const at::Tensor& x, const TokenView& view,
                     const ForwardContext& context) override;
  AdapterSite* site(Location location) const override;
  LoraPlace* lora(Location location) const override;
  PrefixLayer* prefix() const override { return attention_.own->self.own->prefix.get(); }
  ReftPlace* reft() const override { return reft_.get(); }
  LayerSize size() const override { return attention_.own->size(); }

 private:
  SlotOf<VitAttention> attention_;
  SlotOf<Intermediate> intermediate_;
  std::shared_ptr<VitOutput> output_;
  Slot norm_before_, norm_after_;
  std::shared_ptr<AdapterSite> attention_site_ = std::make_shared<AdapterSite>();
  std::shared_ptr<ReftPlace> reft_ = std::make_shared<ReftPlace>();
};

class VitModel : public Encoder {
 public:
  explicit VitModel(const ModelConfig& config);
  const char* type() const override { return "ViTModel"; }
  std::string prefix() const override { return "vit"; }
  std::string layers_path() const override { return "encoder.layer"; }
  bool has_pooler() const override { return true; }
  at::Tensor pool(const at::Tensor& first, const ForwardContext& context) override;
  /// Checks the images and gives each row its tokens.
  void prepare(BatchInput& input) const override;

 protected:
  at::Tensor embed(const PackedBatch& batch, const ForwardContext& context) override {
    return embeddings_->forward(batch.pixels, context);
  }
  at::Tensor finish(const at::Tensor& x, const ForwardContext& context) override { return norm_(x, context); }

 private:
  std::shared_ptr<VitEmbeddings> embeddings_;
  Slot norm_, pooler_;
};

}  // namespace ta
