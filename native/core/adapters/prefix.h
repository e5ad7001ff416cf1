#pragma once
// Prefix tuning (Li and Liang 2021, arXiv 2101.00190): in each layer p keys and values stand in front of every row's
// own, and every token of the row sees them.
//
//   K_i, V_i = T[:, 2i], T[:, 2i + 1]     of the i-th layer that is not left out       T [p, 2·layers, n]
//   T = P                                 flat: P trains itself                        P [p · 2·layers · n]
//   T = W2 act(W1 E + b1) + b2            otherwise, once for a pass    E [p, hidden], W1 [b, hidden], W2
//   [2·layers·n, b]
// n: the features of a layer's keys, fewer than hidden where heads share them.
// With use_gating a row has gk K_i and gv V_i: g = mean over its tokens of sigmoid(Wg x + bg), x [tokens, hidden] what
// the layer's attention reads; Wg [1, hidden] with shared_gating, and then gk = gv, otherwise [2, hidden].
//
// With shifts_positions a row's tokens have the positions behind those of the prefix, as PEFT has it; else prefixes
// have none.
//
// PyTorch keys (adapters), beside the layers: prefix_tuning.prefix_tunings.<name>.<location>.{wte.weight,
// control_trans.{0,2}.*}, or control_trans itself where flat; location is self_prefix (DistilBERT: self). In each
// attention: prefix_tuning.prefix_gates.<name>.*. The peer's state dict has the first ones in every layer once more, as
// prefix_tuning.pool.….

#include <string>
#include <vector>

#include "core/adapters/place.h"
#include "core/config/adapter_config.h"
#include "core/nn/activation.h"
#include "core/nn/embedding.h"
#include "core/nn/linear.h"

namespace ta {

/// What makes T.
class PrefixTable : public Module {
 public:
  /// [p, 2·layers·hidden], differentiable.
  virtual at::Tensor values() const = 0;
  virtual void initialise(Random& random) = 0;
};

/// An adapter's prefixes for all layers.
class PrefixGroup : public AdapterModule {
 public:
  /// features: of a layer's keys; hidden: of the model.
  PrefixGroup(const PrefixConfig& config, int64_t features, int64_t hidden, const std::string& location);
  const char* type() const override { return "PrefixTuningGroup"; }
  const char* why_not_fused() const override { return "adds keys and values to attention"; }
  void initialise(Random& random) override { table_->initialise(random); }

  const PrefixConfig& config() const { return config_; }
  /// K_0, V_0, K_1, V_1, … of the layers that are not left out, each [p, features].
  std::vector<at::Tensor> keys_and_values() const;
  /// The layer's number among those that are not left out; -1 where it is.
  int64_t slot(int64_t layer) const;
  /// The flat form of the same values.
  std::shared_ptr<PrefixGroup> ejected() const;

 private:
  PrefixConfig config_;
  int64_t features_, hidden_, slots_ = 0, length_ = 0;
  std::string location_;
  std::shared_ptr<PrefixTable> table_;
};

/// g of one layer.
class PrefixGate : public AdapterModule {
 public:
  PrefixGate(const PrefixConfig& config, int64_t hidden);
  const char* type() const override { return "Linear"; }
  const char* why_not_fused() const override { return "adds keys and values to attention"; }
  void initialise(Random& random) override;
  /// [rows, 1 or 2]
  at::Tensor forward(const at::Tensor& x, const RowLayout& rows) const;

 private:
  at::Tensor weight_, bias_;
};

}  // namespace ta
