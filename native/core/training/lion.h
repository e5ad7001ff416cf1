#pragma once
// Lion (Chen et al. 2023, arXiv 2302.06675, algorithm 2): every value moves by the learning rate, up or down.
//   u ← sign(β1 m + (1-β1) g);  p ← p (1 - lr·wd) - lr·u;  m ← β2 m + (1-β2) g

#include "core/training/optimizer.h"

namespace ta {

struct LionOptions {
  double beta1 = 0.9;
  double beta2 = 0.99;
};

class Lion final : public Optimizer {
 public:
  Lion(std::vector<FlatParameters*> parameters, std::vector<UpdateGroup> groups, const LionOptions& options);
  const char* name() const override { return "lion"; }
  std::vector<State> state(size_t buffer) const override;

 private:
  void update(const UpdateGroup& group, double learning_rate) override;

  LionOptions options_;
  std::vector<at::Tensor> momentum_;
};

}  // namespace ta
