#pragma once
// An adapter beside a module: both read the same value (He et al. 2022, arXiv 2110.04366).
//   y = module(x) + s (adapter(x) - x)        x [tokens, in], y [tokens, in]
// An adapter layer's own residual is taken out without being computed: s Wu act(Wd x + bd) + s bu is what it adds.
// PyTorch keys: module.*, adapter.*, as a Module with these two children has them.

#include <ATen/TensorOperators.h>

#include "core/adapters/adapter_layer.h"

namespace ta {

class ParallelLayer : public Layer {
 public:
  ParallelLayer(std::shared_ptr<Layer> module, std::shared_ptr<Layer> adapter, double scale) : scale_(scale) {
    child("module", module_, std::move(module));
    child("adapter", adapter_, std::move(adapter));
  }
  const char* type() const override { return "Parallel"; }
  at::Tensor forward(const at::Tensor& x, const ForwardContext& context) override {
    return join(module_(x, context), x, context);
  }
  /// The same where the module's own value is there already.
  at::Tensor join(const at::Tensor& value, const at::Tensor& x, const ForwardContext& context) const {
    return value.add(added(x, context), scale_);
  }
  LayerSize size() const override {
    auto size = module_.layer->size();
    const auto beside = adapter_.layer->size();
    if (size.in == 0) size.in = beside.in;
    if (size.out == 0) size.out = beside.out;
    return size;
  }
  bool reads_whole_rows() const override {
    return module_.layer->reads_whole_rows() || adapter_.layer->reads_whole_rows();
  }

 private:
  // An adapter layer is x and what its parts, one after the other, make of x.
  at::Tensor added(const at::Tensor& x, const ForwardContext& context) const {
    const auto* adapter = dynamic_cast<const AdapterLayer*>(adapter_.layer.get());
    if (adapter == nullptr) return adapter_(x, context) - x;
    require_features(x, *adapter);
    auto value = x;
    for (const auto& part : adapter->children()) value = (*part.slot)(value, context);
    return value;
  }

  Slot module_, adapter_;
  double scale_;
};

}  // namespace ta
