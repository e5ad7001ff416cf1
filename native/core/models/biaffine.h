#pragma once
// s[d, h, l] = [x_d; 1]ᵀ W_l [y_h; 1]: how well word h is the head of word d, or by which relation (Dozat & Manning
// 2017, arXiv:1611.01734). x [n, in], y [m, in], W [labels, in + 1, in + bias_y].  PyTorch: adapters' Biaffine, key
// `weight`.

#include "core/nn/module.h"

namespace ta {

class Biaffine : public Module {
 public:
  Biaffine(int64_t in, int64_t labels, bool bias_y);
  const char* type() const override { return "Biaffine"; }
  /// [x; 1] W for each label: [n, in] → [n, labels, in + bias_y]; what match() takes for neighbouring rows of it.
  at::Tensor left(const at::Tensor& x) const;
  /// left [n, labels, in + bias_y], y [m, in] → [n, m, labels].
  at::Tensor match(const at::Tensor& left, const at::Tensor& y) const;

  at::Tensor weight;

 private:
  bool bias_y_;
};

}  // namespace ta
