#pragma once
// Adafactor (Shazeer & Stern 2018, arXiv 1804.04235) as transformers' Adafactor with scale_parameter and relative_step
// off. Of a matrix's squared gradients it keeps the means of rows and of columns alone:
//   d ← 1 - tᵏ;  R ← d R + (1-d) mean_cols(g² + ε);  C ← d C + (1-d) mean_rows(g² + ε);  V = R Cᵀ / mean(R)
//   u ← g / √V;  u ← u / max(1, rms(u) / c);  with β1: u ← m ← β1 m + (1-β1) lr·u;  p ← p (1 - lr·wd) - u
// k: decay_rate, c: clip_threshold. A vector's V is kept whole, and of more than two dimensions each matrix of the last
// two has its own R and C: so each tensor is seen in its own shape, wherever it lies in the buffer.

#include <optional>

#include "core/training/optimizer.h"

namespace ta {

struct AdafactorOptions {
  double epsilon = 1e-30;
  double clip_threshold = 1;
  double decay_rate = -0.8;
  std::optional<double> beta1{};
};

class Adafactor final : public Optimizer {
 public:
  Adafactor(std::vector<FlatParameters*> parameters, std::vector<UpdateGroup> groups, const AdafactorOptions& options);
  const char* name() const override { return "adafactor"; }
  std::vector<State> state(size_t buffer) const override;

 private:
  // A parameter's part of the buffer's second moments: R and C, or of a vector V in `rows`.
  struct Moments {
    at::Tensor rows, columns;
  };
  void update(const UpdateGroup& group, double learning_rate) override;
  at::Tensor scaled(const at::Tensor& gradient, Moments& moments) const;

  AdafactorOptions options_;
  std::vector<at::Tensor> first_;              ///< empty without β1
  std::vector<at::Tensor> second_;             ///< one for each buffer, R, C and V one after the other
  std::vector<std::vector<Moments>> moments_;  ///< views of it, by buffer and parameter
};

}  // namespace ta
