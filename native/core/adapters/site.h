#pragma once
// The place where a sub-layer's output meets its residual. It evaluates the adapters that the batch's rows ask for:
// y = LN(h + r) where there is none. In PyTorch's tree it is the ModuleDict `adapters` of the module that owns it.

#include "core/adapters/bottleneck.h"

namespace ta {

class AdapterSite : public Module {
 public:
  const char* type() const override { return "ModuleDict"; }

  /// h sub-layer output, r its residual input, both [context.layout tokens, hidden].
  at::Tensor forward(const at::Tensor& h, const at::Tensor& r, LayerNorm& norm, const ForwardContext& context);

  void add(int64_t index, const std::string& name, std::shared_ptr<Bottleneck> adapter);
  void remove(int64_t index, const std::string& name);
  /// Null where this site has none of that index (a layer left out, another location).
  std::shared_ptr<Bottleneck> at(int64_t index) const;

 private:
  at::Tensor run(const at::Tensor& h, const at::Tensor& r, LayerNorm& norm, const RowLayout& rows,
                 const std::vector<int64_t>& adapters, Random* random);

  std::vector<std::shared_ptr<Bottleneck>> adapters_;
};

}  // namespace ta
