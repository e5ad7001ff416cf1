#include "core/models/biaffine.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>

namespace ta {

namespace {

at::Tensor with_one(const at::Tensor& x) {
  return at::cat({x, at::ones({x.size(0), 1}, x.options())}, 1);
}

}  // namespace

Biaffine::Biaffine(int64_t in, int64_t labels, bool bias_y) : bias_y_(bias_y) {
  parameter({.name = "weight", .shape = {labels, in + 1, in + (bias_y ? 1 : 0)}, .init = Init::zeros, .decay = true},
            weight);
}

at::Tensor Biaffine::left(const at::Tensor& x) const {
  const int64_t labels = weight.size(0), in = weight.size(1), out = weight.size(2);
  const auto flat = weight.permute({1, 0, 2}).reshape({in, labels * out});
  return at::matmul(with_one(x), flat).view({x.size(0), labels, out});
}

at::Tensor Biaffine::match(const at::Tensor& left, const at::Tensor& y) const {
  const auto right = bias_y_ ? with_one(y) : y;
  const auto scores = at::matmul(left.reshape({-1, left.size(2)}), right.t());
  return scores.view({left.size(0), left.size(1), right.size(0)}).permute({0, 2, 1});
}

}  // namespace ta
