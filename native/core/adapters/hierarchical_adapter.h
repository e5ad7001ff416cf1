#pragma once
// Adapters of several sizes, one after the other at one place: y = An(… A2(A1(x))).  x, y [tokens, hidden].
// PyTorch keys: adapters.<i>.{down_project, up_project}.*

#include "core/adapters/adapter_layer.h"

namespace ta {

class HierarchicalAdapter : public InsertedLayer {
 public:
  HierarchicalAdapter(int64_t hidden, const std::vector<int64_t>& sizes, const std::string& activation);
  const char* type() const override { return "HierarchicalAdapter"; }
  at::Tensor forward(const at::Tensor& x, const ForwardContext& context) override;
  void initialise(Random& random) override;
  LayerSize size() const override { return {hidden_, hidden_}; }

 private:
  int64_t hidden_;
  std::vector<std::shared_ptr<AdapterLayer>> adapters_;
};

}  // namespace ta
