#pragma once
// Parameters that train together are views of one buffer, and so are their gradients: clipping is one norm, AdamW one
// call for each of two ranges (with weight decay and without), a checkpoint one write.

#include <string>
#include <vector>

#include "core/nn/module.h"

namespace ta {

struct NamedParameter {
  std::string name;
  Parameter parameter;
};

class FlatParameters {
 public:
  /// Lays the parameters out, those with weight decay first, and makes each module's tensor a view. Values that exist
  /// are copied in; the others wait for their initialisation. A tensor that stands in two places is taken once.
  FlatParameters(std::vector<NamedParameter> parameters, at::Device device);

  /// Allocates (or frees) the gradients and tells autograd.
  void set_trainable(bool trainable);
  bool trainable() const { return grads_.defined(); }
  void zero_grads();

  const at::Tensor& values() const { return values_; }
  const at::Tensor& grads() const { return grads_; }
  /// Elements at the front to which weight decay applies.
  int64_t decayed() const { return decayed_; }
  const std::vector<NamedParameter>& parameters() const { return parameters_; }
  /// The gradient's view for parameter i.
  at::Tensor grad(size_t i) const { return view(grads_, i); }
  /// Parameter i's part of another tensor of the same layout.
  at::Tensor view(const at::Tensor& flat, size_t i) const;

 private:
  std::vector<NamedParameter> parameters_;
  std::vector<int64_t> offsets_;
  at::Tensor values_;
  at::Tensor grads_;
  int64_t decayed_ = 0;
};

}  // namespace ta
