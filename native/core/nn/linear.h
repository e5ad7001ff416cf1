#pragma once
// y = x Wᵀ + b.  x [tokens, in], weight [out, in], bias [out].  PyTorch: nn.Linear, keys `weight`, `bias`.

#include "core/nn/module.h"

namespace ta {

/// The same with a gradient, for weights that belong to no Linear. bias may be undefined.
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

/// What stands at a Linear and changes its value for some rows: LoRA and its kin, which adapters/ has.
class LinearExtension {
 public:
  virtual ~LinearExtension() = default;
  /// Whether a row of the batch passes through something that stands here.
  virtual bool acts(const ForwardContext& context) const = 0;
  virtual at::Tensor forward(const at::Tensor& x, const ForwardContext& context) = 0;
};

/// y = x Wᵀ + b, whichever way round W lies in memory, with a place for such an extension.
class LinearLayer : public TokenLayer {
 public:
  using TokenLayer::forward;
  at::Tensor forward(const at::Tensor& x, const ForwardContext& context) override;
  /// Whether `weight` is Wᵀ.
  virtual bool transposed() const { return false; }
  /// True when neither tensor trains, so that no gradient of them is ever asked for.
  bool frozen() const;
  /// Whether the value is more than x Wᵀ + b for some rows of the batch.
  bool extended(const ForwardContext& context) const;
  /// `child` is the extension as a module, a child of this name.
  void extend(const std::string& name, std::shared_ptr<Module> child, LinearExtension& extension);

  at::Tensor weight;  ///< as PyTorch keeps it
  at::Tensor bias;

 private:
  LinearExtension* extension_ = nullptr;
};

class Linear : public LinearLayer {
 public:
  using LinearLayer::forward;
  Linear(int64_t in, int64_t out, bool with_bias = true);
  const char* type() const override { return "Linear"; }
  at::Tensor forward(const at::Tensor& x) override;
  LayerSize size() const override { return {own_parameters()[0].shape[1], own_parameters()[0].shape[0]}; }
};

}  // namespace ta
