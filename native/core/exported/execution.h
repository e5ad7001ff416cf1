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

#include <string>
#include <vector>

#include "core/exported/graph.h"
#include "core/exported/program.h"

namespace ta::exported {

struct Load;
struct Step;

class Execution {
 public:
  /// Reads the weights. `pass` goes to the hooks. Not training: dropout and its like are left out, whatever the export
  /// had; statistics of BatchNorm are never taken from the batch.
  Execution(const Program& program, const void* pass, bool training);

  /// The whole graph. Outputs that are no tensors are left out. ERR_INVALID_ARGUMENT, ERR_OUT_OF_RANGE on inputs that
  /// do not fit; what an operator refuses is ERR_INVALID_ARGUMENT with its name and module.
  std::vector<at::Tensor> run(const std::vector<at::Tensor>& inputs);

  /// One tensor of the main graph, by no more nodes than those up to the one that makes it.
  at::Tensor run_to(int32_t slot, const std::vector<at::Tensor>& inputs);

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
  void take(const std::vector<at::Tensor>& inputs);
  void execute(const Step& step);
  void call(const Step& step);
  void branch(const Step& step);
  void protect(const Step& step) const;
  c10::IValue value_of(const Load& load);
  int32_t ask(int32_t hook, int32_t last);
  [[noreturn]] void fail_at(int32_t node, const std::string& problem) const;

  const Program& program_;
  const Plan& plan_;
  const void* pass_;
  bool training_;
  int32_t least_depth_ = 0;          ///< of the hooks that are asked: a hook's own run asks those nested in it
  std::vector<c10::IValue> values_;  ///< by slot
  std::vector<c10::IValue> stack_;   ///< of the operator that is running
};

}  // namespace ta::exported
