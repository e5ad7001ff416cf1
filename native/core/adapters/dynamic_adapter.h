#pragma once
// A bottleneck whose size each row chooses for itself from its mean hidden state. x [tokens, hidden], M the largest
// size, j = 0 … M-1 the bottleneck's units:
//   size = M · σ(wc · mean_row(x) + bc)                one number a row
//   m_j  = 1 where j + 1 ≤ size, else 0                the first ⌊size⌋ units
//   y    = x + Wu (m ⊙ (Wd x + bd)) + bu
// ⌊ ⌋ has no gradient. Straight-through (Bengio et al. 2013, arXiv 1308.3432): values are those above, and the gradient
// of m_j is that of the soft mask σ((size - j - 1) / t), which tends to m_j as t → 0. Or the soft mask itself, whose
// values have that gradient.
// PyTorch keys: down_project.*, up_project.*, size_controller.{weight [1, hidden], bias [1]}

#include "core/adapters/inserted_layer.h"
#include "core/nn/linear.h"
#include "core/nn/packed_batch.h"

namespace ta {

struct DynamicOptions {
  bool soft_mask = false;
  double temperature = 1.0;
  bool identity_start = true;  ///< the up-projection starts at zero; else as PyTorch starts every Linear
};

class DynamicAdapter : public InsertedLayer {
 public:
  DynamicAdapter(int64_t hidden, int64_t max_size, const DynamicOptions& options);
  const char* type() const override { return "DynamicAdapter"; }
  at::Tensor forward(const at::Tensor& x, const ForwardContext& context) override;
  void initialise(Random& random) override;
  LayerSize size() const override { return {hidden_, hidden_}; }
  bool reads_whole_rows() const override { return true; }

  /// M · σ(…) for each row: [rows, 1].
  at::Tensor sizes(const at::Tensor& x, const ForwardContext& context) const;

 private:
  at::Tensor mask(const at::Tensor& sizes) const;

  int64_t hidden_, max_size_;
  DynamicOptions options_;
  Slot down_project_, up_project_, size_controller_;
  std::shared_ptr<Linear> down_, up_, controller_;  // as they were made
};

}  // namespace ta
