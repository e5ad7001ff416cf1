#pragma once
// DistilBERT (Sanh et al. 2019, arXiv 1910.01108): BERT's post-LN encoder with half the layers, without token types and
// without a pooler.
//   e = LN(word[ids] + position[positions])
//   a = LN(attention(x) Wo + bo + x)          y = LN(dropout(act(a W1 + b1) W2 + b2) + a)      for each layer
// PyTorch keys: embeddings.{word,position}_embeddings.weight, embeddings.LayerNorm.*,
// transformer.layer.<i>.attention.{q,k,v,out}_lin.*, .sa_layer_norm.*, .ffn.{lin1,lin2}.*, .output_layer_norm.*;
// adapters stand beside them in .attention_adapters.adapters and .output_adapters.adapters.

#include "core/models/bert.h"

namespace ta {

class DistilBertAttention : public AttendingLayer {
 public:
  using AttendingLayer::forward;
  explicit DistilBertAttention(const ModelConfig& config);
  const char* type() const override { return "MultiHeadSelfAttention"; }
  at::Tensor forward(const at::Tensor& xq, const at::Tensor& x, const TokenView& view,
                     const ForwardContext& context) override;
  LayerSize size() const override { return query.layer->size(); }

  Slot query, key, value, output;
  std::shared_ptr<PrefixLayer> prefix = std::make_shared<PrefixLayer>();

 private:
  int64_t heads_;
  double dropout_;
};

class DistilBertFeedForward : public Layer {
 public:
  explicit DistilBertFeedForward(const ModelConfig& config);
  const char* type() const override { return "FFN"; }
  at::Tensor forward(const at::Tensor& x, const ForwardContext& context) override;
  LayerSize size() const override { return {in.layer->size().in, out.layer->size().out}; }

  Slot in, out;
  SlotOf<Activation> activation;
  double dropout;
};

class DistilBertBlock : public EncoderLayer {
 public:
  using EncoderLayer::forward;
  explicit DistilBertBlock(const ModelConfig& config);
  const char* type() const override { return "TransformerBlock"; }
  bool begins_free(const ForwardContext& context) const override;
  LayerEnding begin(const at::Tensor& xq, const at::Tensor& x, const TokenView& view,
                    const ForwardContext& context) override;
  at::Tensor end(const LayerEnding& ending, const ForwardContext& context) override;
  at::Tensor forward(const at::Tensor& xq, const at::Tensor& x, const TokenView& view,
                     const ForwardContext& context) override;
  AdapterSite* site(Location location) const override;
  LoraPlace* lora(Location location) const override;
  PrefixLayer* prefix() const override { return attention_.own->prefix.get(); }
  ReftPlace* reft() const override { return reft_.get(); }
  LayerSize size() const override { return attention_.own->size(); }

 private:
  SlotOf<DistilBertAttention> attention_;
  SlotOf<DistilBertFeedForward> feed_forward_;
  Slot attention_norm_, output_norm_;
  std::shared_ptr<AdapterSite> attention_site_, output_site_;
  std::shared_ptr<ReftPlace> reft_ = std::make_shared<ReftPlace>();
};

class DistilBertModel : public Encoder {
 public:
  explicit DistilBertModel(const ModelConfig& config);
  const char* type() const override { return "DistilBertModel"; }
  std::string prefix() const override { return "distilbert"; }
  std::string layers_path() const override { return "transformer.layer"; }
  std::string prefix_location() const override { return "self"; }
  Embedding* word_embeddings() override { return embeddings_->word.get(); }

 protected:
  at::Tensor embed(const PackedBatch& batch, const ForwardContext& context) override {
    return invertible_place().forward(embeddings_->forward(batch, context), context);
  }

 private:
  std::shared_ptr<BertEmbeddings> embeddings_;
};

}  // namespace ta
