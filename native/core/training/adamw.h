#pragma once
// AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101) on flat buffers, with torch.optim.AdamW's arithmetic:
//   p ← p (1 - lr·wd);  m ← β1 m + (1-β1) g;  v ← β2 v + (1-β2) g²;  p ← p - lr/(1-β1ᵗ) · m / (√v/√(1-β2ᵗ) + ε)
// One fused call for each group of parameters.

#include "core/training/optimizer.h"

namespace ta {

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
};

class AdamW final : public Optimizer {
 public:
  AdamW(std::vector<FlatParameters*> parameters, std::vector<UpdateGroup> groups, const AdamWOptions& options);
  const char* name() const override { return "adamw"; }
  std::vector<State> state(size_t buffer) const override;

 private:
  void update(const UpdateGroup& group, double learning_rate) override;

  AdamWOptions options_;
  std::vector<at::Tensor> first_, second_;
};

}  // namespace ta
