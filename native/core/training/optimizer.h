#pragma once
// AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101) on flat buffers, with torch.optim.AdamW's arithmetic:
//   p ← p (1 - lr·wd);  m ← β1 m + (1-β1) g;  v ← β2 v + (1-β2) g²;  p ← p - lr/(1-β1ᵗ) · m / (√v/√(1-β2ᵗ) + ε)
// Each buffer is one fused call for its parts with weight decay and one for those without. What is frozen is in
// neither.

#include <vector>

#include "core/adapters/flat_parameters.h"

namespace ta {

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0.0;
};

class AdamW {
 public:
  AdamW(std::vector<FlatParameters*> parameters, const AdamWOptions& options);

  /// The gradients' global L2 norm, before anything is scaled.
  double grad_norm() const;
  void scale_grads(double factor);
  void step(double learning_rate);

  const std::vector<FlatParameters*>& parameters() const { return parameters_; }
  /// First and second moments, laid out as each buffer's values.
  std::vector<at::Tensor>& first_moments() { return first_; }
  std::vector<at::Tensor>& second_moments() { return second_; }
  int64_t steps() const { return steps_; }
  void set_steps(int64_t steps);

 private:
  void update(size_t i, bool decay, double learning_rate);

  std::vector<FlatParameters*> parameters_;
  AdamWOptions options_;
  std::vector<at::Tensor> first_, second_;
  int64_t steps_ = 0;
};

}  // namespace ta
