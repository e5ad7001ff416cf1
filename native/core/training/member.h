#pragma once
// One of those that train in a step beside each other: its buffers, with an optimizer, a schedule and a clipping of
// their own, as if it trained alone.

#include "core/surgery/adapter_model.h"
#include "core/training/optimizer_choice.h"
#include "core/training/schedule.h"

namespace ta {

struct MemberOptions {
  std::string name{};                       ///< for messages; empty: it is the only one
  std::unordered_set<std::string> names{};  ///< of its parameters, whole buffers; empty: all that train
  double learning_rate = 5e-5;
  double weight_decay = 0;
  std::vector<ParameterGroup> groups{};  ///< parameters with a learning rate or a decay of their own
  OptimizerOptions optimizer{};
  double max_grad_norm = 1.0;  ///< 0: no clipping
  Schedule schedule{};
  double label_smoothing = 0;
};

class Member {
 public:
  /// Throws ERR_INVALID_ARGUMENT where it has a part of a buffer, or none.
  Member(AdapterModel& model, MemberOptions options);

  const MemberOptions& options() const { return options_; }
  const std::vector<FlatParameters*>& parameters() const { return optimizer_->parameters(); }
  Optimizer& optimizer() { return *optimizer_; }
  const Optimizer& optimizer() const { return *optimizer_; }
  int64_t steps() const { return optimizer_->steps(); }

  /// What a fusion's regularisation adds to its gradients.
  void regularise();
  /// Clips to the norm, moves the parameters, cools fusions; gives the learning rate of what is in no group.
  double step(double grad_norm);

  /// Of all its learning rates from now on, beside the schedule's factor.
  void set_scale(double scale) { scale_ = scale; }

  /// Remembers the parameters as they are now.
  void keep();
  /// Puts them back to what keep() remembered last; nothing where it never did.
  void restore();
  /// What keep() remembered, one tensor for each buffer; none where it never did.
  std::vector<at::Tensor>& kept() { return kept_; }

 private:
  MemberOptions options_;
  std::vector<std::shared_ptr<Fusion>> fusions_;
  std::unique_ptr<Optimizer> optimizer_;
  std::vector<at::Tensor> kept_;
  double scale_ = 1;
};

}  // namespace ta
