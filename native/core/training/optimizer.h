#pragma once
// What turns gradients into steps. An optimizer reads and writes the flat buffers, group by group; its state is laid
// out as they are, so that a checkpoint holds a few tensors.

#include <string>
#include <vector>

#include "core/training/update_groups.h"

namespace ta {

class Optimizer {
 public:
  Optimizer(std::vector<FlatParameters*> parameters, std::vector<UpdateGroup> groups);
  virtual ~Optimizer() = default;

  /// As checkpoints have it.
  virtual const char* name() const = 0;

  /// The gradients' global L2 norm, before anything is scaled.
  double grad_norm() const;
  void scale_grads(double factor);
  /// `factor`: the schedule's, for each group's learning rate.
  void step(double factor);

  const std::vector<FlatParameters*>& parameters() const { return parameters_; }
  struct State {
    std::string name;
    at::Tensor tensor;
  };
  /// What it keeps of one buffer from step to step; a resumed run copies into the tensors.
  virtual std::vector<State> state(size_t buffer) const = 0;
  int64_t steps() const { return steps_; }
  void set_steps(int64_t steps) { steps_ = steps; }

 protected:
  /// One step of what is in the group; steps() has counted it already.
  virtual void update(const UpdateGroup& group, double learning_rate) = 0;

  const std::vector<UpdateGroup>& groups() const { return groups_; }
  /// Zeros as large as what may train, one tensor for each buffer.
  std::vector<at::Tensor> zeros() const;
  /// The group's parts of the values, of the gradients, and of tensors of the same layout.
  std::vector<at::Tensor> values(const UpdateGroup& group) const;
  std::vector<at::Tensor> grads(const UpdateGroup& group) const;
  static std::vector<at::Tensor> parts(const UpdateGroup& group, const std::vector<at::Tensor>& buffers);

 private:
  std::vector<FlatParameters*> parameters_;
  std::vector<UpdateGroup> groups_;
  int64_t steps_ = 0;
};

}  // namespace ta
