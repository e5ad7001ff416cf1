#pragma once
// What encoders have in common, whatever their layers are: embeddings, a list of layers with two sites each, and a last
// layer that computes no more than what is read of it. A family adds its modules under PyTorch's names.
//   x = embed(batch)          x = layer_i(x) for each layer
// x [tokens, hidden]; rows one after the other, without padding.

#include <deque>

#include "core/adapters/prefix_layer.h"
#include "core/adapters/reft.h"
#include "core/models/model.h"
#include "core/nn/activation.h"
#include "core/nn/attention.h"

namespace ta {

class KeyValueCache;

/// Which tokens ask and which answer: the same ones, but for a last layer that one token of each row is read of.
struct TokenView {
  const RowLayout& queries;
  const RowLayout& keys;
  KeyValueCache* cache = nullptr;  ///< generation: keys are these and the ones it holds
};

/// A layer that asks for some tokens and reads all: an attention, or a whole layer of the network. Surgery that wraps
/// it knows only the form that every layer has, in which all tokens ask.
class AttendingLayer : public Layer {
 public:
  /// xq [query tokens, hidden], x [tokens, hidden] → [query tokens, hidden]. context.layout lays out the queries.
  virtual at::Tensor forward(const at::Tensor& xq, const at::Tensor& x, const TokenView& view,
                             const ForwardContext& context) = 0;
  at::Tensor forward(const at::Tensor& x, const ForwardContext& context) final {
    return forward(x, x, {*context.layout, *context.layout}, context);
  }
  bool reads_whole_rows() const final { return true; }
};

/// What stands in a slot that was made for an AttendingLayer. Another layer takes and gives every token: a caller that
/// wants fewer asks answers_for_some() first.
at::Tensor attend(const Slot& slot, const at::Tensor& xq, const at::Tensor& x, const TokenView& view,
                  const ForwardContext& context);

/// Whether a module, below which surgery may have replaced others, can answer for fewer tokens than it reads.
bool answers_for_some(const Module& module);

/// Whether something that a row passes through stands below a module.
bool has_adapters(const Module& module, const ForwardContext& context);

/// Whether an adapter has something below a module that reads whole rows.
bool reads_whole_rows(const Module& module, int64_t adapter);

/// What a layer's last site reads: the sub-layer's output, before dropout, and its residual.
struct LayerEnding {
  at::Tensor h, r;
};

class EncoderLayer : public AttendingLayer {
 public:
  using AttendingLayer::forward;
  /// Whether a layer comes in two parts, begin() and end(), and nothing that a row passes through stands in the first.
  virtual bool begins_free(const ForwardContext&) const { return false; }
  virtual LayerEnding begin(const at::Tensor& xq, const at::Tensor& x, const TokenView& view,
                            const ForwardContext& context);
  virtual at::Tensor end(const LayerEnding& ending, const ForwardContext& context);
  virtual AdapterSite* site(Location location) const = 0;
  /// Null where the layer has no Linear for it, or surgery has put something else there.
  virtual LoraPlace* lora(Location) const { return nullptr; }
  virtual PrefixLayer* prefix() const = 0;
  virtual ReftPlace* reft() const = 0;
};

class Encoder : public Model {
 public:
  explicit Encoder(const ModelConfig& config) : config_(config) {}
  const ModelConfig& config() const override { return config_; }
  void prepare(BatchInput& input) const override;
  Encoded encode(const PackedBatch& batch, const ForwardContext& context, const EncodeRequest& request) override;
  FirstLayers free_layers(const ForwardContext& context) override;
  at::Tensor encode_first(const PackedBatch& batch, const FirstLayers& first) override;
  std::vector<Place> places() override;
  at::Tensor decode(const PackedBatch& batch, const ForwardContext& context, KeyValueCache& cache) override;

 protected:
  virtual at::Tensor embed(const PackedBatch& batch, const ForwardContext& context) = 0;
  /// What the layers read, before project(): embeddings, and prompts among them where rows have some.
  struct Beginning {
    at::Tensor x;
    RowLayout rows;
    at::Tensor own = {};    ///< [tokens] int64: where each row's own tokens are; undefined where there are no others
    at::Tensor first = {};  ///< [rows] int64: where each row begins, its prompts included

    /// Whether a row of these has one token, and others behind it.
    bool has_only_tokens(const RowLayout& alone) const;
    /// Where these tokens of the batch are.
    at::Tensor at(const at::Tensor& tokens) const { return own.defined() ? own.index_select(0, tokens) : tokens; }
  };
  Beginning begin(const PackedBatch& batch, const ForwardContext& context);
  /// From the embeddings to the layers, where the two have other sizes.
  virtual at::Tensor project(const at::Tensor& e, const ForwardContext&) { return e; }
  /// After the last layer: a pre-LN model's last LayerNorm.
  virtual at::Tensor finish(const at::Tensor& x, const ForwardContext&) { return x; }
  /// The first position. RoBERTa's positions begin after the padding id, which keeps a position of its own for padding.
  virtual int64_t first_position() const { return 0; }

  /// The next layer, as a child of the model's list.
  void add_layer(Container& list, std::shared_ptr<EncoderLayer> layer);

  ModelConfig config_;
  std::deque<SlotOf<EncoderLayer>> layers_;  // a slot keeps its address

 private:
  bool reached_in_front(const ForwardContext& context);
  bool needs_all_tokens(const ForwardContext& context) const;
  void number(PackedBatch& read, const PackedBatch& batch, const ForwardContext& context) const;
};

/// The module that holds a site and its fusions where the sub-layer is none of its own in PyTorch's tree:
/// `<name>.adapters.<adapter>`.
std::shared_ptr<Container> bottleneck_layer(const std::shared_ptr<AdapterSite>& site);

/// Linear layers of a self-attention, as the family calls them, and its prefixes.
struct AttentionSlots {
  const Slot& query;
  const Slot& key;
  const Slot& value;
  const Slot& output;
  const PrefixLayer& prefix;
};

/// A layer's Linears at which LoRA and its kin can stand.
struct LoraSlots {
  const Slot& query;
  const Slot& key;
  const Slot& value;
  const Slot& attention_output;
  const Slot& intermediate;
  const Slot& feed_forward_output;
};

/// Null at other locations, and where surgery has put something else in a Linear's place.
LoraPlace* lora_place(const LoraSlots& slots, Location location);

/// packed_attention of a layer with its rows' prefixes. x: what this pass made keys and values of, view.keys its rows;
/// `own` has more of them where there is a cache.
at::Tensor prefixed_attention(const PrefixLayer& prefix, const at::Tensor& q, const PrefixLayer::KeysAndValues& own,
                              const at::Tensor& x, const TokenView& view, const AttentionForm& form, double dropout_p,
                              const ForwardContext& context);

/// Multi-head attention with its output projection; one fused node where all four are frozen linear layers.
at::Tensor self_attention(const AttentionSlots& slots, const at::Tensor& xq, const at::Tensor& x, const TokenView& view,
                          const AttentionForm& form, double dropout_p, const ForwardContext& context);

/// out(activation(in(x))), fused likewise.
at::Tensor feed_forward(const Slot& in, const SlotOf<Activation>& activation, const Slot& out, const at::Tensor& x,
                        const ForwardContext& context);

/// The site with the model's own LayerNorm. Where surgery has put something else in the LayerNorm's place, that is
/// norm(h + r); throws ERR_UNSUPPORTED where adapters run here, which need the LayerNorm.
at::Tensor finish_at(AdapterSite& site, const Slot& norm, const at::Tensor& h, const at::Tensor& r,
                     const ForwardContext& context);

}  // namespace ta
