#pragma once
// The bottleneck with its own residual, as a layer that stands anywhere (Houlsby et al. 2019, arXiv 1902.00751):
//   y = x + Wu act(Wd x + bd) + bu        x, y [tokens, hidden], Wd [size, hidden], Wu [hidden, size]
// It starts as the identity: Wd and bd as PyTorch starts a Linear, Wu and bu at zero.
// PyTorch keys: down_project.{weight, bias}, up_project.{weight, bias}; an activation with weights: activation.*

#include "core/adapters/inserted_layer.h"
#include "core/nn/activation.h"
#include "core/nn/linear.h"

namespace ta {

class AdapterLayer : public InsertedLayer {
 public:
  AdapterLayer(int64_t hidden, int64_t size, const std::string& activation);
  const char* type() const override { return "AdapterLayer"; }
  at::Tensor forward(const at::Tensor& x, const ForwardContext& context) override;
  void initialise(Random& random) override;
  LayerSize size() const override { return {hidden_, hidden_}; }

 private:
  int64_t hidden_;
  Slot down_project_, activation_, up_project_;
  std::shared_ptr<Linear> down_, up_;  // as they were made
};

}  // namespace ta
