#pragma once
// y = fn(… f2(f1(x))).  PyTorch: nn.Sequential, whose children are named by their place: `0.*`, `1.*` …

#include <deque>

#include "core/nn/module.h"

namespace ta {

class Sequential : public Layer {
 public:
  explicit Sequential(const std::vector<std::shared_ptr<Layer>>& layers);
  const char* type() const override { return "Sequential"; }
  at::Tensor forward(const at::Tensor& x, const ForwardContext& context) override;
  LayerSize size() const override;
  bool reads_whole_rows() const override;

 private:
  std::deque<Slot> layers_;  // a slot keeps its address
};

}  // namespace ta
