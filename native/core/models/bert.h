#pragma once
// BERT (Devlin et al. 2018, arXiv 1810.04805), RoBERTa (arXiv 1907.11692), XLM-RoBERTa (arXiv 1911.02116) and ELECTRA
// (Clark et al. 2020, arXiv 2003.10555): one encoder, post-LN. They differ in how positions count, in the name in front
// of their parameters, and ELECTRA has narrower embeddings with a projection, and no pooler.
//   e  = LN(word[ids] + type[types] + position[positions])         (e Wp + bp where the embeddings are narrower)
//   a  = LN(attention(x) Wo + bo + x)          y = LN(act(a W1 + b1) W2 + b2 + a)      for each layer
// PyTorch keys: embeddings.{word,position,token_type}_embeddings.weight, embeddings.LayerNorm.*, embeddings_project.*,
// encoder.layer.<i>.attention.self.{query,key,value}.*, .attention.output.{dense,LayerNorm}.*, .intermediate.dense.*,
// .output.{dense,LayerNorm}.*, pooler.dense.*

#include "core/models/transformer_parts.h"

namespace ta {

/// Without token types where the model knows none (DistilBERT).
class BertEmbeddings : public Module {
 public:
  explicit BertEmbeddings(const ModelConfig& config);
  const char* type() const override { return "BertEmbeddings"; }
  at::Tensor forward(const PackedBatch& batch, const ForwardContext& context);

  std::shared_ptr<Embedding> word, position, token_type;

 private:
  Slot norm_;
  double dropout_;
};

/// dense, dropout, then the site with its LayerNorm: BertSelfOutput after attention, BertOutput after feed-forward.
class BertOutput : public Module {
 public:
  BertOutput(const ModelConfig& config, int64_t in, const char* type);
  const char* type() const override { return type_; }
  /// h: the dense layer's output, before dropout.
  at::Tensor finish(const at::Tensor& h, const at::Tensor& r, const ForwardContext& context);

  Slot dense;
  AdapterSite* site() const { return site_.get(); }

 private:
  const char* type_;
  Slot norm_;
  std::shared_ptr<AdapterSite> site_;
  double dropout_;
};

class BertAttention : public AttendingLayer {
 public:
  using AttendingLayer::forward;
  explicit BertAttention(const ModelConfig& config);
  const char* type() const override { return "BertAttention"; }
  at::Tensor forward(const at::Tensor& xq, const at::Tensor& x, const TokenView& view,
                     const ForwardContext& context) override;
  LayerSize size() const override { return self.own->size(); }

  SlotOf<SelfAttention> self;
  std::shared_ptr<BertOutput> output;
};

class BertLayer : public EncoderLayer {
 public:
  using EncoderLayer::forward;
  explicit BertLayer(const ModelConfig& config);
  const char* type() const override { return "BertLayer"; }
  bool begins_free(const ForwardContext& context) const override;
  LayerEnding begin(const at::Tensor& xq, const at::Tensor& x, const TokenView& view,
                    const ForwardContext& context) override;
  at::Tensor end(const LayerEnding& ending, const ForwardContext& context) override;
  at::Tensor forward(const at::Tensor& xq, const at::Tensor& x, const TokenView& view,
                     const ForwardContext& context) override;
  AdapterSite* site(Location location) const override;
  LoraPlace* lora(Location location) const override;
  PrefixLayer* prefix() const override { return attention.own->self.own->prefix.get(); }
  ReftPlace* reft() const override { return reft_.get(); }
  LayerSize size() const override { return attention.own->size(); }

  SlotOf<BertAttention> attention;
  SlotOf<Intermediate> intermediate;
  std::shared_ptr<BertOutput> output;

 private:
  std::shared_ptr<ReftPlace> reft_ = std::make_shared<ReftPlace>();
};

class BertModel : public Encoder {
 public:
  explicit BertModel(const ModelConfig& config);
  const char* type() const override;
  std::string prefix() const override;
  std::string layers_path() const override { return "encoder.layer"; }
  bool has_pooler() const override { return pooler_.layer != nullptr; }
  at::Tensor pool(const at::Tensor& first, const ForwardContext& context) override;
  Embedding* word_embeddings() override { return embeddings_->word.get(); }

 protected:
  at::Tensor embed(const PackedBatch& batch, const ForwardContext& context) override {
    return invertible_place().forward(embeddings_->forward(batch, context), context);
  }
  at::Tensor project(const at::Tensor& e, const ForwardContext& context) override {
    return project_.layer ? project_(e, context) : e;
  }
  int64_t first_position() const override;

 private:
  std::shared_ptr<BertEmbeddings> embeddings_;
  Slot project_;
  Slot pooler_;
};

}  // namespace ta
