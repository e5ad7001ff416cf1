#pragma once
// The place where a sub-layer's output meets its residual. It evaluates what the batch's rows ask for:
// y = LN(h + r) where there is none; without a LayerNorm of the model's own (pre-LN models) y = h + r. Behind a module
// that a network adds to nothing r is zero, and parallel adapters read what the module read.

#include "core/adapters/bottleneck.h"

namespace ta {

class AdapterSite : public AdapterPlace {
 public:
  /// h sub-layer output, r its residual input, both [context.layout tokens, hidden]. `norm` null: a pre-LN model.
  /// `read`: what parallel adapters read, where it is not r.
  at::Tensor forward(const at::Tensor& h, const at::Tensor& r, LayerNorm* norm, const ForwardContext& context,
                     const at::Tensor& read = {});

  Bottleneck* at(int64_t index) const { return static_cast<Bottleneck*>(module(index).get()); }
  const std::shared_ptr<AdapterPlace>& fusions() const { return fusions_; }
  /// What the sub-layer reads has another width than what adapters add to.
  void refuse_parallel() { takes_parallel_ = false; }
  bool takes_parallel() const { return takes_parallel_; }

 private:
  struct Values {
    at::Tensor h, r, read;
  };
  at::Tensor run(const Values& values, LayerNorm* norm, const RowLayout& rows, const Composition* setup,
                 const ForwardContext& context, int64_t first_token = 0);

  /// The ModuleDict `adapter_fusion_layer` beside this one.
  std::shared_ptr<AdapterPlace> fusions_ = std::make_shared<AdapterPlace>();
  bool takes_parallel_ = true;
};

}  // namespace ta
