#pragma once
// Fusion of adapters by self-attention over their outputs. For each token by itself, x_1 … x_N [hidden] the outputs of
// N adapters, b the value that they started from, w the learned weights, h = 1 … H heads of size e = hidden / H:
//   q_i = Wq x_i + bq,  k_i = Wk x_i + bk,  v_i = Wv x_i + bv      (nn.MultiheadAttention, batch_first)
//   a_hij = softmax_j(q_hi · k_hj / √e)
//   f_i = Wo concat_h(Σ_j a_hij v_hj) + bo
//   y = b + Σ_i w_i f_i
// Everything after the softmax is linear, so the weighted sum comes first: with c_hj = Σ_i w_i a_hij and W = Σ_i w_i
// (which is Σ_j c_hj, too)
//   y = b + Wo concat_h(Wv_h (Σ_j c_hj x_j) + W bv_h) + W bo
// is the same value for (2N + 2) · hidden² products a token instead of 4N · hidden².
// PyTorch keys: fusion_weights [N], attention.in_proj_weight [3·hidden, hidden], attention.in_proj_bias [3·hidden],
// attention.out_proj.{weight, bias}

#include "core/adapters/inserted_layer.h"
#include "core/nn/linear.h"

namespace ta {

class AttentionFusion : public Module {
 public:
  /// Throws ERR_INVALID_ARGUMENT where the heads do not divide the hidden size.
  AttentionFusion(int64_t adapters, int64_t hidden, int64_t heads);
  const char* type() const override { return "AdapterFusion"; }

  /// base [tokens, hidden] and one output of the same shape for each adapter → [tokens, hidden].
  at::Tensor forward(const at::Tensor& base, const std::vector<at::Tensor>& outputs);
  /// As PyTorch starts its MultiheadAttention; every weight 1/N.
  void initialise(Random& random);

 private:
  int64_t hidden_, heads_;
  at::Tensor fusion_weights_, in_weight_, in_bias_;
  std::shared_ptr<Linear> out_;
};

}  // namespace ta
