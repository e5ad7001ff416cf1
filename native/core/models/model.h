#pragma once
// What adapters, heads, training and inference know of a network: a forward pass over a packed batch, named modules and
// parameters (Module), and the sites where adapters stand. Families implement it; nothing else asks which family it is.

#include <memory>
#include <string>
#include <vector>

#include "core/adapters/site.h"
#include "core/config/model_config.h"
#include "core/nn/embedding.h"

namespace ta {

/// Where adapters can stand. attention and output: the sites after the two sub-layers.
enum class Location { attention, output };

struct Place {
  int64_t layer;
  Location location;
  AdapterPlace* place;
};

struct EncodeRequest {
  bool first_tokens_only = false;  ///< only each row's first token is read: the last layer computes no other
  bool hidden_states = false;      ///< keep the embeddings' output and every layer's
};

struct Encoded {
  at::Tensor last;  ///< [tokens, hidden], or [rows, hidden] where first_only
  bool first_only = false;
  std::vector<at::Tensor> hidden_states;  ///< each [tokens, hidden]
};

class Model : public Module {
 public:
  /// The name in front of the backbone's parameters in PyTorch's *AdapterModel classes, such as `bert`.
  virtual std::string prefix() const = 0;
  virtual const ModelConfig& config() const = 0;

  /// Checks ids, token types and lengths against the model and fills in positions and token types by its rule.
  /// Throws ERR_OUT_OF_RANGE.
  virtual void prepare(BatchInput& input) const = 0;
  virtual Encoded encode(const PackedBatch& batch, const ForwardContext& context, const EncodeRequest& request) = 0;
  /// The pooler on each row's first token: [rows, hidden] → [rows, hidden].
  virtual at::Tensor pool(const at::Tensor& first, const ForwardContext& context) = 0;
  /// In the order of the layers.
  virtual std::vector<Place> places() = 0;
  virtual Embedding& word_embeddings() = 0;
};

}  // namespace ta
