#pragma once
// The place where a sub-layer's output meets its residual. It evaluates what the batch's rows ask for:
// y = LN(h + r) where there is none; without a LayerNorm of the model's own (pre-LN models) y = h + r.

#include "core/adapters/bottleneck.h"

namespace ta {

class AdapterSite : public AdapterPlace {
 public:
  /// h sub-layer output, r its residual input, both [context.layout tokens, hidden]. `norm` null: a pre-LN model.
  at::Tensor forward(const at::Tensor& h, const at::Tensor& r, LayerNorm* norm, const ForwardContext& context);

  Bottleneck* at(int64_t index) const { return static_cast<Bottleneck*>(module(index).get()); }
  const std::shared_ptr<AdapterPlace>& fusions() const { return fusions_; }

 private:
  at::Tensor run(const at::Tensor& h, const at::Tensor& r, LayerNorm* norm, const RowLayout& rows,
                 const Composition* setup, const ForwardContext& context, int64_t first_token = 0);

  /// The ModuleDict `adapter_fusion_layer` beside this one.
  std::shared_ptr<AdapterPlace> fusions_ = std::make_shared<AdapterPlace>();
};

}  // namespace ta
