#pragma once
// Stochastic gradient descent with torch.optim.SGD's arithmetic; decay is L2, a part of the gradient:
//   g ← g + wd·p;  b ← g at the first step, then µ b + (1 - τ) g;  g ← g + µ b (Nesterov) or b;  p ← p - lr·g
// One fused call for each group of parameters. Without momentum µ nothing is kept from step to step.

#include "core/training/optimizer.h"

namespace ta {

struct SgdOptions {
  double momentum = 0;
  double dampening = 0;
  bool nesterov = false;
};

class Sgd final : public Optimizer {
 public:
  Sgd(std::vector<FlatParameters*> parameters, std::vector<UpdateGroup> groups, const SgdOptions& options);
  const char* name() const override { return "sgd"; }
  std::vector<State> state(size_t buffer) const override;

 private:
  void update(const UpdateGroup& group, double learning_rate) override;

  SgdOptions options_;
  std::vector<at::Tensor> momentum_;  ///< empty without momentum
};

}  // namespace ta
