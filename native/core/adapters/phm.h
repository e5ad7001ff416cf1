#pragma once
// A projection whose matrix is a sum of Kronecker products: parameterised hypercomplex multiplication (Zhang et al.
// 2021, arXiv 2102.08597), as Compacter has it in bottleneck adapters (Karimi Mahabadi et al. 2021, arXiv 2106.04647).
// x [tokens, in], n = phm_dim, r = phm_rank; in and out are multiples of n.
//
//   y = x H + b      H = Σi Ci ⊗ Wi  [in, out]      Ci [n, n], Wi [in / n, out / n], i < n
//   Wi = Li Ri with factorized_phm_W: Li [in / n, r], Ri [r, out / n]     Ci = li ri with factorized_phm_rule
//
// C, and W with shared_W_phm, may be one for all layers. Where the factors of W are small H is never made: with x and y
// as n parts each, y_b = Σa Σi (Ci)_ab (x_a Li) Ri, so C goes into the factor on the narrower side, [n n r, out] or
// [in, n n r], and y is two products of n r numbers for each part. What is made of parameters is made once a pass.
//
// PyTorch keys (adapters): W_left, W_right or W; b; phm_rule, or phm_rule_left and phm_rule_right; shared ones as
// shared_parameters.<name>.{phm_rule…, W_down…, W_up…} beside the layers. With learn_phm off C never trains (the peer's
// train_adapter turns it on again).

#include "core/adapters/phm_matrices.h"
#include "core/adapters/place.h"
#include "core/nn/pass_memo.h"

namespace ta {

enum class PhmSide { down, up };

/// What an adapter's PHM layers have in common; which of them there are, the configuration says.
class PhmShared : public AdapterModule {
 public:
  PhmShared(int64_t hidden, int64_t bottleneck, const BottleneckConfig& config);
  const char* type() const override { return "ParameterDict"; }
  void initialise(Random& random) override;

  PhmMatrices down, up, rule;

 private:
  BottleneckConfig config_;
};

class PhmLayer : public Layer {
 public:
  /// `shared`: null where the configuration shares nothing.
  PhmLayer(int64_t in, int64_t out, PhmSide side, const BottleneckConfig& config, std::shared_ptr<PhmShared> shared);
  const char* type() const override { return "PHMLayer"; }
  at::Tensor forward(const at::Tensor& x, const ForwardContext& context) override;
  LayerSize size() const override { return {in_, out_}; }
  void initialise(Random& random);

 private:
  /// What y is computed with: H, or two factors of which one holds C.
  enum class Form { whole, rule_in_right, rule_in_left };
  Form cheapest() const;
  PassMemo::Value factors() const;
  const PhmMatrices& weights() const;
  const PhmMatrices& rule() const;

  int64_t in_, out_;
  PhmSide side_;
  BottleneckConfig config_;
  std::shared_ptr<PhmShared> shared_;
  PhmMatrices own_rule_, own_weights_;
  at::Tensor b_;
  Form form_;
};

}  // namespace ta
