#include "core/nn/layer_norm.h"

#include <ATen/ops/layer_norm.h>

#include "core/nn/gradient.h"

namespace ta {

LayerNorm::LayerNorm(int64_t size, double epsilon) : eps(epsilon) {
  parameter({.name = "weight", .shape = {size}, .init = Init::ones}, weight);
  parameter({.name = "bias", .shape = {size}, .init = Init::zeros}, bias);
}

at::Tensor LayerNorm::forward(const at::Tensor& x) {
  return at::layer_norm(x, {weight.size(0)}, tracked(weight), tracked(bias), eps);
}

}  // namespace ta
