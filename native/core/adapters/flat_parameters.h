#pragma once
// Parameters that train together are views of one buffer, and so are their gradients: clipping is one norm, AdamW works
// on two long stretches (with weight decay and without), a checkpoint is one write.

#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/nn/module.h"

namespace ta {

struct NamedParameter {
  std::string name;
  Parameter parameter;
};

class FlatParameters {
 public:
  /// Lays the parameters out, those with weight decay first and fixed ones last, and makes each module's tensor a view.
  /// Values that exist are copied in; the others wait for their initialisation. A tensor that stands in two places is
  /// taken once.
  FlatParameters(std::vector<NamedParameter> parameters, at::Device device);

  /// Allocates (or frees) the gradients and tells autograd. Parameters named in `frozen` get none: their part of the
  /// gradients stays zero, and no optimizer changes them.
  void set_trainable(bool trainable, const std::set<std::string>& frozen = {});
  bool trainable() const { return grads_.defined(); }
  void zero_grads();
  /// The values were written to past the parameters: what is kept of theirs must see it.
  void changed();
  /// Surgery gives parameters other names; one that is in no tree any more keeps its last.
  void rename(const std::unordered_map<const at::Tensor*, std::string>& names);

  const at::Tensor& values() const { return values_; }
  /// The part of the values that may ever train; gradients have no more.
  at::Tensor moving() const { return values_.narrow(0, 0, moving_); }
  const at::Tensor& grads() const { return grads_; }
  /// Where a parameter's values lie.
  struct Span {
    int64_t begin;
    int64_t end;
  };
  Span span(size_t i) const;
  /// Whether an optimizer may change parameter i.
  bool trains(size_t i) const { return trainable() && !frozen_.contains(parameters_[i].name); }
  /// The names of parameters that stand still while others of the buffer train.
  const std::set<std::string>& frozen() const { return frozen_; }
  const std::vector<NamedParameter>& parameters() const { return parameters_; }
  /// The gradient's view for parameter i.
  at::Tensor grad(size_t i) const { return view(grads_, i); }
  /// Parameter i's part of another tensor of the same layout; fixed ones have none in one of moving()'s.
  at::Tensor view(const at::Tensor& flat, size_t i) const;

 private:
  std::vector<NamedParameter> parameters_;
  std::vector<int64_t> offsets_;
  int64_t moving_ = 0;
  at::Tensor values_;
  at::Tensor grads_;
  std::set<std::string> frozen_;
};

}  // namespace ta
