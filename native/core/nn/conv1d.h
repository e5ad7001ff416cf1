#pragma once
// y = x W + b.  x [tokens, in], weight [in, out], bias [out].  GPT-2's form of a linear layer: transformers' Conv1D,
// keys `weight` and `bias`. The weight is the transpose of nn.Linear's.

#include "core/nn/linear.h"

namespace ta {

class Conv1D : public LinearLayer {
 public:
  using LinearLayer::forward;
  /// `scale`: of the standard deviation that the weight starts with.
  Conv1D(int64_t in, int64_t out, double scale = 1.0);
  const char* type() const override { return "Conv1D"; }
  at::Tensor forward(const at::Tensor& x) override;
  LayerSize size() const override { return {own_parameters()[0].shape[0], own_parameters()[0].shape[1]}; }
  bool transposed() const override { return true; }
};

}  // namespace ta
