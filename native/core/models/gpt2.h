#pragma once
// GPT-2 (Radford et al. 2019): a pre-LN decoder; a token sees itself and the tokens before it.
//   x = dropout(word[ids] + position[positions])
//   h = attention(LN1(x)) Wo + bo          a = x + dropout(h)
//   f = act(LN2(a) W1 + b1) W2 + b2        y = a + dropout(f)          for each layer;  LNf(y) after the last
// Adapters take the place of the two sums; they know no LayerNorm of the model's: y = o + r.
// PyTorch keys: wte.weight, wpe.weight, h.<i>.{ln_1,ln_2}.*, h.<i>.attn.{c_attn,c_proj}.*, h.<i>.mlp.{c_fc,c_proj}.*,
// ln_f.*; weights of attn and mlp are [in, out], c_attn holds query, key and value side by side. Adapters:
// h.<i>.attention_adapters.adapters, h.<i>.output_adapters.adapters.

#include "core/models/encoder.h"

namespace ta {

class Gpt2Attention : public AttendingLayer {
 public:
  using AttendingLayer::forward;
  Gpt2Attention(const ModelConfig& config, int64_t layer);
  const char* type() const override { return "GPT2Attention"; }
  /// xq, x: after the LayerNorm.
  at::Tensor forward(const at::Tensor& xq, const at::Tensor& x, const TokenView& view,
                     const ForwardContext& context) override;
  LayerSize size() const override { return output.layer->size(); }

  std::shared_ptr<PrefixLayer> prefix = std::make_shared<PrefixLayer>();
  Slot merged, output;

 private:
  int64_t layer_, heads_;
  double dropout_;
};

class Gpt2FeedForward : public Layer {
 public:
  explicit Gpt2FeedForward(const ModelConfig& config);
  const char* type() const override { return "GPT2MLP"; }
  at::Tensor forward(const at::Tensor& x, const ForwardContext& context) override;
  LayerSize size() const override { return {in.layer->size().in, out.layer->size().out}; }

  Slot in, out;

 private:
  SlotOf<Activation> activation_;
};

class Gpt2Block : public EncoderLayer {
 public:
  using EncoderLayer::forward;
  Gpt2Block(const ModelConfig& config, int64_t layer);
  const char* type() const override { return "GPT2Block"; }
  bool begins_free(const ForwardContext& context) const override;
  LayerEnding begin(const at::Tensor& xq, const at::Tensor& x, const TokenView& view,
                    const ForwardContext& context) override;
  at::Tensor end(const LayerEnding& ending, const ForwardContext& context) override;
  at::Tensor forward(const at::Tensor& xq, const at::Tensor& x, const TokenView& view,
                     const ForwardContext& context) override;
  AdapterSite* site(Location location) const override;
  PrefixLayer* prefix() const override { return attention_.own->prefix.get(); }
  ReftPlace* reft() const override { return reft_.get(); }
  LoraPlace* lora(Location location) const override;
  LayerSize size() const override { return attention_.own->size(); }

 private:
  at::Tensor finish(const LayerEnding& ending, const ForwardContext& context);

  Slot attention_norm_, output_norm_;
  SlotOf<Gpt2Attention> attention_;
  SlotOf<Gpt2FeedForward> feed_forward_;
  std::shared_ptr<AdapterSite> attention_site_, output_site_;
  std::shared_ptr<ReftPlace> reft_ = std::make_shared<ReftPlace>();
  double dropout_;
};

class Gpt2Model : public Encoder {
 public:
  explicit Gpt2Model(const ModelConfig& config);
  const char* type() const override { return "GPT2Model"; }
  std::string prefix() const override { return "transformer"; }
  std::string layers_path() const override { return "h"; }
  bool is_causal() const override { return true; }
  double head_norm_eps() const override { return 1e-12; }  // the adapter library finds no other in this config
  Embedding* word_embeddings() override { return word_.get(); }
  at::Tensor decode(const PackedBatch& batch, const ForwardContext& context, KeyValueCache& cache) override;

 protected:
  at::Tensor embed(const PackedBatch& batch, const ForwardContext& context) override;
  at::Tensor finish(const at::Tensor& x, const ForwardContext& context) override { return norm_(x, context); }

 private:
  std::shared_ptr<Embedding> word_, position_;
  Slot norm_;
};

}  // namespace ta
