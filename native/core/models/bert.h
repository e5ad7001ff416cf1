#pragma once
// BERT (Devlin et al. 2018, arXiv 1810.04805), RoBERTa (arXiv 1907.11692) and XLM-RoBERTa (arXiv 1911.02116): one
// encoder, post-LN; the three differ in how positions count and in the name in front of their parameters.
//   e  = LN(word[ids] + type[types] + position[positions])
//   a  = LN(attention(x) Wo + bo + x)          y = LN(act(a W1 + b1) W2 + b2 + a)      for each layer
// PyTorch keys: embeddings.{word,position,token_type}_embeddings.weight, embeddings.LayerNorm.*,
// encoder.layer.<i>.attention.self.{query,key,value}.*, .attention.output.{dense,LayerNorm}.*, .intermediate.dense.*,
// .output.{dense,LayerNorm}.*, pooler.dense.*

#include "core/models/model.h"

namespace ta {

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

/// Which tokens ask and which answer: the same ones, but for a last layer that only first tokens are read of.
struct TokenView {
  const RowLayout& queries;
  const RowLayout& keys;
};

class BertSelfAttention : public Module {
 public:
  explicit BertSelfAttention(const ModelConfig& config);
  const char* type() const override { return "BertSelfAttention"; }
  at::Tensor forward(const at::Tensor& xq, const at::Tensor& x, const TokenView& view, const ForwardContext& context);

  Slot query, key, value;
  int64_t heads;
  double dropout;
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

class BertAttention : public Module {
 public:
  explicit BertAttention(const ModelConfig& config);
  const char* type() const override { return "BertAttention"; }
  at::Tensor forward(const at::Tensor& xq, const at::Tensor& x, const TokenView& view, const ForwardContext& context);

  std::shared_ptr<BertSelfAttention> self;
  std::shared_ptr<BertOutput> output;
};

class BertIntermediate : public Module {
 public:
  explicit BertIntermediate(const ModelConfig& config);
  const char* type() const override { return "BertIntermediate"; }
  Slot dense;
  std::shared_ptr<Activation> activation;
};

class BertLayer : public Module {
 public:
  explicit BertLayer(const ModelConfig& config);
  const char* type() const override { return "BertLayer"; }
  /// context.layout lays out the queries.
  at::Tensor forward(const at::Tensor& xq, const at::Tensor& x, const TokenView& view, const ForwardContext& context);

  std::shared_ptr<BertAttention> attention;
  std::shared_ptr<BertIntermediate> intermediate;
  std::shared_ptr<BertOutput> output;
};

class BertModel : public Model {
 public:
  explicit BertModel(const ModelConfig& config);
  const char* type() const override;
  std::string prefix() const override;
  const ModelConfig& config() const override { return config_; }
  void prepare(BatchInput& input) const override;
  Encoded encode(const PackedBatch& batch, const ForwardContext& context, const EncodeRequest& request) override;
  at::Tensor pool(const at::Tensor& first, const ForwardContext& context) override;
  std::vector<Place> places() override;
  Embedding& word_embeddings() override { return *embeddings_->word; }

 private:
  bool needs_all_tokens(const ForwardContext& context);
  bool is_roberta() const { return config_.model_type != "bert"; }

  ModelConfig config_;
  std::shared_ptr<BertEmbeddings> embeddings_;
  std::vector<std::shared_ptr<BertLayer>> layers_;
  Slot pooler_;
};

}  // namespace ta
