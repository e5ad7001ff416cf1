#include "core/adapters/fusion_scores.h"

#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

namespace ta {

void FusionScores::add(const Fusion& fusion, const at::Tensor& p, const at::Tensor& tokens, int64_t total,
                       const std::vector<int64_t>& children, int64_t count) {
  auto& kept = all_[&fusion];
  if (!kept.defined() || kept.size(1) < count) {
    // Compositions of one batch may give a fusion other numbers of children.
    auto wider = at::zeros({total, count}, p.options().requires_grad(false));
    if (kept.defined()) wider.narrow(1, 0, kept.size(1)).copy_(kept);
    kept = wider;
  }
  auto rows = at::zeros({p.size(0), kept.size(1)}, kept.options());
  rows.index_copy_(1, at::tensor(children, at::kLong).to(p.device()), p.detach());
  kept.index_copy_(0, tokens, rows);
}

void FusionScores::keep(const at::Tensor& tokens) {
  for (auto& [fusion, scores] : all_) scores = scores.index_select(0, tokens);
}

}  // namespace ta
