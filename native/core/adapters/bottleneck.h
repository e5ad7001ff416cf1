#pragma once
// A bottleneck adapter (Houlsby et al. 2019, arXiv 1902.00751; Pfeiffer et al. 2020, arXiv 2005.00247; parallel: He et
// al. 2022, arXiv 2110.04366). h sub-layer output, r its residual input, both [tokens, hidden]; LN the model's own
// LayerNorm.
//
//   rho = h                    residual_before_ln (h + r with 'post_add' where original_ln_before, else h)
//   x   = LN(h + r)            original_ln_before, otherwise x = h;   rho = x where residual_before_ln is false
//   z   = act(Wd LNb(x) + bd)  LNb with ln_before
//   u   = s · DropPath(Wu z + bu)          s: number, learned scalar [1] or channel vector [hidden]
//   o   = dropout(u) · mean_row sigmoid(wg x + bg)       the gate with use_gating, one number a row
//   o   = LNa(o + rho) or LNa(o) + rho or o + rho        ln_after, adapter_residual_before_ln
//   y   = LN(o + r)            original_ln_after, otherwise o
// Parallel: x = r, no rho and no DropPath, y = LN(LNa(dropout(s (Wu act(Wd r + bd) + bu))) + h + r).
//
// PyTorch keys (adapters): adapter_down.0.{weight [b, hidden], bias [b]}, adapter_up.{weight, bias}, scaling, gate.*,
// adapter_norm_before.* (again as adapter_down.0.*, with the Linear at adapter_down.1), adapter_norm_after.*. With PHM
// layers Wd and Wu are the sums of Kronecker products of phm.h, which has their keys.

#include "core/adapters/phm.h"
#include "core/adapters/up_projection.h"
#include "core/config/adapter_config.h"
#include "core/nn/activation.h"
#include "core/nn/layer_norm.h"
#include "core/nn/linear.h"

namespace ta {

class Bottleneck : public AdapterModule {
 public:
  /// `shared`: for PHM layers that share parameters, null otherwise.
  Bottleneck(int64_t hidden, int64_t bottleneck, const BottleneckConfig& config,
             std::shared_ptr<PhmShared> shared = nullptr);
  const char* type() const override { return config_.is_parallel ? "ParallelAdapter" : "Adapter"; }

  /// What the adapter reads, and what its output is added to.
  struct Entry {
    at::Tensor x, rho;
  };
  /// `norm` null: the model has no LayerNorm here, and LN(a) above is a.
  Entry enter(const at::Tensor& h, const at::Tensor& r, LayerNorm* norm) const;
  /// The value that stands before the last LayerNorm: o for a sequential adapter, o + h for a parallel one.
  /// `context.layout` lays out exactly the tokens given.
  at::Tensor forward(const at::Tensor& h, const at::Tensor& r, LayerNorm* norm, const ForwardContext& context) const;
  /// u for the adapter's input x, before dropout and gate.
  UpProjection up_projection(const at::Tensor& x, const ForwardContext& context) const;

  void initialise(Random& random) override;

  const BottleneckConfig& config() const { return config_; }
  /// Nothing but linear down, activation, linear up and a number: the form that adapters/bottleneck_function takes in
  /// one node.
  bool plain() const;
  /// The gate's mean needs every token of a row.
  bool needs_all_tokens() const override { return config_.use_gating; }

  /// Null where PHM layers stand for them.
  std::shared_ptr<Linear> down, up;
  std::shared_ptr<Activation> activation;

 private:
  void make_projections(int64_t hidden, int64_t bottleneck, const std::shared_ptr<PhmShared>& shared);
  void initialise_linear(Random& random) const;
  at::Tensor inside(const at::Tensor& x, const ForwardContext& context) const;
  at::Tensor drop_path(const at::Tensor& x, const ForwardContext& context) const;
  at::Tensor raised(const at::Tensor& x, const ForwardContext& context) const;
  at::Tensor transform(const at::Tensor& x, const ForwardContext& context) const;
  at::Tensor row_gate(const at::Tensor& x, const RowLayout& rows) const;

  BottleneckConfig config_;
  std::shared_ptr<PhmLayer> phm_down_, phm_up_;
  std::shared_ptr<Layer> down_layer_, up_layer_;  ///< of whichever kind
  std::shared_ptr<LayerNorm> norm_before_, norm_after_;
  std::shared_ptr<Linear> gate_;
  at::Tensor scaling_;
};

}  // namespace ta
