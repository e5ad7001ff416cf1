#pragma once
// AdapterFusion for inference, with every product of two matrices that stand still made beforehand. Of N adapters that
// are linear down, activation, linear up and a number si, all of them with one activation, and R = Σ bottlenecks:
//
//   A  = Wkᵀ Wq, a = Wkᵀ bq                        (t = Wkᵀ Q = A q + a in fusion.h; without a query, or a key: I)
//   z  = act(D x + d)           D [R, hidden]: all adapters' Wd, one below the other
//   s  = sums(z ∘ (K q + k)) + B q + b             sums over each adapter's own bottleneck
//        K = [si Wuiᵀ A] [R, hidden], k = [si Wuiᵀ a], B = [si buiᵀ A] [N, hidden], b = [si buiᵀ a]
//   p  = softmax(s / T)
//   ctx = V (p ∘ z) + C p       V = [si Wv Wui] [hidden, R], C = [si Wv bui] [hidden, N]
// 3 R hidden a token where fusion.h has 3 hidden² + 3 R hidden: query, key and value cost nothing.

#include <mutex>

#include "core/adapters/bottleneck.h"
#include "core/nn/linear.h"

namespace ta {

/// Null where the fusion has none.
struct FusionWeights {
  const Linear* query;
  const Linear* key;
  const Linear* value;
};

class FoldedFusion {
 public:
  FoldedFusion(const FusionWeights& weights, const std::vector<const Bottleneck*>& adapters);
  /// ctx [tokens, hidden]. `scores`: where set, p [tokens, N] is put there.
  at::Tensor forward(const at::Tensor& q, const at::Tensor& x, double temperature, at::Tensor* scores) const;

 private:
  std::vector<int64_t> sizes_;  ///< the adapters' bottlenecks
  std::shared_ptr<Activation> activation_;
  at::Tensor down_, down_bias_, score_, score_bias_, value_;
};

/// Folded forms of one fusion, each for the adapters and the values that it was made of. Every pass that learns nothing
/// takes one, the first pass makes it: whether a pass is folded never depends on those before it, nor do its bits.
class FoldedFusions {
 public:
  /// Thread-safe.
  std::shared_ptr<const FoldedFusion> of(const FusionWeights& weights, const std::vector<const Bottleneck*>& adapters);

 private:
  struct Made;
  std::mutex mutex_;
  std::vector<std::shared_ptr<Made>> made_;  ///< the newest last
};

}  // namespace ta
