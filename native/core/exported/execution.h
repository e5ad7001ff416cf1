#pragma once
// One run of a program: the values of its slots. It lives on one thread and keeps to the thread's grad and inference
// modes; several run a program at the same time on several threads.
//
//   Execution execution(program, &pass, training);
//   std::vector<at::Tensor> outputs = execution.run({input_ids, attention_mask});
//
// A part by itself, such as a pooler: set(…) what it reads, run_nodes(range), tensor(…).

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>

#include <vector>

#include "core/exported/graph.h"
#include "core/exported/program.h"

namespace ta::exported {

class Execution {
 public:
  /// Reads the weights. `pass` goes to the hooks. Not training: dropout and its like are left out, whatever the export
  /// had; statistics of BatchNorm are never taken from the batch.
  Execution(const Program& program, const void* pass, bool training);

  /// The whole graph. Outputs that are no tensors are left out. ERR_INVALID_ARGUMENT, ERR_OUT_OF_RANGE on inputs that
  /// do not fit; what an operator refuses is ERR_INVALID_ARGUMENT with its name and module.
  std::vector<at::Tensor> run(const std::vector<at::Tensor>& inputs);

  /// Nodes first .. last, with the hooks inside, but for the one that is calling.
  void run_nodes(Range range);

  bool has(int32_t slot) const { return values_[static_cast<std::size_t>(slot)].isTensor(); }
  /// Undefined where the slot has no tensor: not computed yet, or released.
  const at::Tensor& tensor(int32_t slot) const;
  /// A number that the graph computed: a size.
  int64_t number(int32_t slot) const;
  void set(int32_t slot, at::Tensor value);

  const Program& program() const { return program_; }
  bool training() const { return training_; }

 private:
  friend struct Runner;
  const Program& program_;
  const void* pass_;
  bool training_;
  bool grad_;                        ///< the thread's mode when the run began
  const void* asking_ = nullptr;     ///< the hook that is running
  std::vector<c10::IValue> values_;  ///< by slot
  std::vector<c10::IValue> stack_;   ///< of the operator that is running
};

}  // namespace ta::exported
