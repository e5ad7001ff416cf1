#pragma once
// What adapters, heads, training and inference know of a network: a forward pass over a packed batch, named modules and
// parameters (Module), and the sites where adapters stand. Families implement it; nothing else asks which family it is.

#include <memory>
#include <string>
#include <vector>

#include "core/adapters/invertible.h"
#include "core/adapters/lora_place.h"
#include "core/adapters/prompt.h"
#include "core/adapters/site.h"
#include "core/config/model_config.h"
#include "core/nn/embedding.h"

namespace ta {

class KeyValueCache;

/// Where adapters can stand. attention and output: the sites after the two sub-layers; last_hidden_state: behind all of
/// them; embeddings: in front; prompt: behind the embeddings; prefix: the gates in an attention; layer_output: after a
/// whole layer, where ReFT stands. The others: Linears, the four of self-attention and the two of feed-forward;
/// query_key_value: one that is the first three, one above the other.
enum class Location {
  attention,
  output,
  last_hidden_state,
  embeddings,
  query,
  key,
  value,
  query_key_value,
  attention_output,
  intermediate,
  feed_forward_output,
  prefix,
  layer_output,
  prompt
};

struct Place {
  int64_t layer;
  Location location;
  AdapterPlace* place;
};

struct EncodeRequest {
  bool row_tokens_only = false;  ///< only each row's head token is read: the last layer computes no other
  bool hidden_states = false;    ///< keep the embeddings' output and every layer's
  int64_t copies = 1;            ///< the batch is so many copies of its first rows, which only adapters tell apart
};

struct Encoded {
  at::Tensor last;  ///< [tokens, hidden], or [rows, hidden] where rows_only
  bool rows_only = false;
  at::Tensor row_states;                  ///< each row's head token [rows, hidden], where it is none of `last`
  std::vector<at::Tensor> hidden_states;  ///< each [tokens, hidden]
};

/// How far the network's beginning reaches.
struct FirstLayers {
  int64_t layers = 0;      ///< whole ones
  bool and_begun = false;  ///< and of the next all that stands before its last site; never of the last layer
};

class Model : public Module {
 public:
  /// The name in front of the backbone's parameters in PyTorch's *AdapterModel classes, such as `bert`.
  virtual std::string prefix() const = 0;
  /// Where the layers stand below the prefix: `encoder.layer` in `bert.encoder.layer.3.output…`.
  virtual std::string layers_path() const = 0;
  virtual const ModelConfig& config() const = 0;
  /// Features of what heads read; a network of another's making may give others than its layers have.
  virtual int64_t output_size() const { return config().hidden_size; }

  /// Checks ids, token types and lengths against the model and fills in positions and token types by its rule.
  /// Throws ERR_OUT_OF_RANGE.
  virtual void prepare(BatchInput& input) const = 0;
  /// A batch with `states` begins with its `first_layer`, or behind what stands in that layer before its last site.
  virtual Encoded encode(const PackedBatch& batch, const ForwardContext& context, const EncodeRequest& request) = 0;
  /// The first layers in which no adapter of a row stands, nor in front of them: their values are the base model's.
  virtual FirstLayers free_layers(const ForwardContext& context) = 0;
  /// What they give without adapters and dropout: [tokens, hidden], before any last LayerNorm; with the next layer's
  /// beginning [tokens, 2 hidden], its last sub-layer's output beside its residual.
  virtual at::Tensor encode_first(const PackedBatch& batch, const FirstLayers& first) = 0;
  /// The token that heads read a whole row from: its first, or its last where tokens see only those before them.
  virtual bool is_causal() const { return false; }
  at::Tensor row_tokens(const PackedBatch& batch) const { return is_causal() ? batch.last_tokens : batch.first_tokens; }
  /// eps of the LayerNorms inside heads.
  virtual double head_norm_eps() const { return config().layer_norm_eps; }
  /// The pooler on each row's head token: [rows, hidden] → [rows, hidden]. Only where has_pooler().
  virtual at::Tensor pool(const at::Tensor& first, const ForwardContext&) { return first; }
  virtual bool has_pooler() const { return false; }
  /// The head that a network of another's making brings along: [tokens, hidden] → [tokens, labels]. `are_words`: of the
  /// vocabulary, before which invertible adapters are undone.
  virtual at::Tensor own_logits(const at::Tensor& states, const ForwardContext&, bool /*are_words*/) { return states; }
  /// Generation: the tokens of each row that the cache has not seen → hidden states of each row's last, [rows, hidden].
  /// Only where is_causal().
  virtual at::Tensor decode(const PackedBatch& batch, const ForwardContext& context, KeyValueCache& cache) = 0;
  /// In the order of the layers.
  virtual std::vector<Place> places() = 0;
  /// Null in a model of images.
  virtual Embedding* word_embeddings() { return nullptr; }
  /// `invertible_adapters`: embeddings pass through it, and heads that predict words go back through it.
  InvertiblePlace& invertible_place();
  /// `prefix_tuning.prefix_tunings`: prefixes, which an adapter has once for all layers.
  AdapterPlace& prefix_place();
  /// What the peer calls self-attention among the places for prefixes.
  virtual std::string prefix_location() const { return "self_prefix"; }
  /// `prompt_tuning.prompt_tunings`.
  PromptPlace& prompt_place();
  /// Whether rows may have prompts.
  virtual bool takes_prompts() const { return true; }
  /// `shared_parameters`: what else an adapter has once for all layers.
  AdapterPlace& shared_place();

 private:
  std::shared_ptr<InvertiblePlace> invertible_;
  std::shared_ptr<AdapterPlace> prefixes_, shared_;
  std::shared_ptr<PromptPlace> prompts_;
};

}  // namespace ta
