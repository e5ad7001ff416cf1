#pragma once
// AdapterFusion (Pfeiffer et al. 2021, arXiv 2005.00247), one attention over N adapters for each token. q [tokens,
// hidden] the query, Ui [tokens, hidden] adapter i's scaled up-projection before its dropout, gate and residual, rho
// the residual that the adapter would add.
//
//   Q = Wq q + bq     Ki = Wk Ui + bk     Vi = Wv Ui     (U + rho instead of U with residual_before)
//   p = softmax(dropout(Q · Ki) / T)      ctx = Σ pi Vi  (+ rho without residual_before)
// No 1/√d. Computed in another order, exactly, so that no key and no value is ever made: Q · Ki = (Wkᵀ Q) · Ui + Q · bk
// and Σ pi Wv Ui = Wv Σ pi Ui. And Ui = s (Wui zi + bui), so that with t = Wkᵀ Q the score is s ((Wuiᵀ t) · zi + t ·
// bui) and the sum runs over bottlenecks: three products of hidden² a token whatever N, and nothing of [tokens, N,
// hidden].
//
// PyTorch keys (adapters): query.{weight [h, h], bias}, key.{weight, bias}, value.weight.

#include "core/adapters/folded_fusion.h"
#include "core/adapters/place.h"
#include "core/adapters/up_projection.h"
#include "core/config/fusion_config.h"
#include "core/nn/linear.h"

namespace ta {

class Fusion : public AdapterModule {
 public:
  Fusion(int64_t hidden, const FusionConfig& config);
  const char* type() const override { return "BertFusion"; }

  /// ctx, without rho. `rho` is read with residual_before alone. `scores`: where set, p [tokens, N] is put there.
  at::Tensor forward(const at::Tensor& q, const std::vector<UpProjection>& inputs, const at::Tensor& rho,
                     Random* random, at::Tensor* scores) const;
  /// The same, folded, of adapters that all stand here and are linear down, activation, linear up and a number, where
  /// nothing learns; undefined otherwise.
  at::Tensor folded(const at::Tensor& q, const at::Tensor& x, const std::vector<const Bottleneck*>& adapters,
                    at::Tensor* scores) const;
  void initialise(Random& random) override;

  const FusionConfig& config() const { return config_; }
  /// T, which falls from 50 to 1 in the course of training where the config says so.
  double temperature = 1;
  /// After a step of training.
  void cool();
  /// The part that 0.01 ‖I - Wv‖² has in a step's gradient; nothing where Wv stands still.
  void add_regularisation() const;

 private:
  FusionConfig config_;
  int64_t hidden_;
  std::shared_ptr<Linear> query_, key_, value_;
  mutable FoldedFusions folded_;
};

}  // namespace ta
