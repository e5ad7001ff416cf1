#pragma once
// One run of a program: the values of its slots. It lives on one thread and keeps to the thread's grad and inference
// modes; several run a program at the same time on several threads.
//
//   Execution execution(program, &pass, training);
//   std::vector<at::Tensor> outputs = execution.run({input_ids, attention_mask});
//
// A part by itself, such as a pooler: set(…) what it reads, run_nodes(range), tensor(…).
//
// Hooks hand values of the stream to each other packed, [rows · columns, n]. The form that the graph gives them,
// [rows, columns, n], is a view that autograd would record twice for each; it is made when a node or tensor(…) asks.

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>
#include <c10/util/SmallVector.h>

#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "core/exported/graph.h"
#include "core/exported/program.h"

namespace ta::exported {

class FormValues;
struct Load;
struct Step;

class Execution {
 public:
  /// Reads the weights. `pass` goes to the hooks. Not training: dropout and its like are left out, whatever the export
  /// had; statistics of BatchNorm are never taken from the batch.
  Execution(const Program& program, const void* pass, bool training);

  /// The graph as it was exported: no hook is asked.
  void leave_hooks() { least_depth_ = std::numeric_limits<int32_t>::max(); }

  /// The whole graph. Outputs that are no tensors are left out. ERR_INVALID_ARGUMENT, ERR_OUT_OF_RANGE on inputs that
  /// do not fit; what an operator refuses is ERR_INVALID_ARGUMENT with its name and module.
  std::vector<at::Tensor> run(const std::vector<at::Tensor>& inputs);

  /// One tensor of the main graph, by no more nodes than those up to the one that makes it.
  at::Tensor run_to(int32_t slot, const std::vector<at::Tensor>& inputs);

  /// Nodes first .. last, with the hooks inside, but for the one that is calling.
  void run_nodes(Range range);

  bool has(int32_t slot) const {
    return values_[static_cast<std::size_t>(slot)].isTensor() || find_packed(slot) != nullptr;
  }
  /// Undefined where the slot has no tensor: not computed yet, or released.
  const at::Tensor& tensor(int32_t slot) const;
  /// What set_packed gave; undefined where the slot has a value that nobody packed.
  const at::Tensor& packed(int32_t slot) const;
  /// A number that the graph computed: a size.
  int64_t number(int32_t slot) const;
  void set(int32_t slot, at::Tensor value);
  /// packed [rows · columns, n] → the slot's value is [rows, columns, n], the same memory.
  void set_packed(int32_t slot, at::Tensor packed, int64_t rows, int64_t columns);
  /// A view that was made of a value, for who reads it next.
  void keep_packed(int32_t slot, at::Tensor packed, int64_t rows, int64_t columns);

  const Program& program() const { return program_; }
  bool training() const { return training_; }

 private:
  void take(const std::vector<at::Tensor>& inputs);
  void run_up_to(int32_t last, const std::vector<at::Tensor>& inputs);
  void execute(const Step& step);
  void call(const Step& step);
  void branch(const Step& step);
  void protect(const Step& step) const;
  c10::IValue value_of(const Load& load);
  int32_t ask(int32_t hook, int32_t last);
  struct Packed {
    int32_t slot;
    at::Tensor tensor;
    int64_t rows, columns;
  };
  const Packed* find_packed(int32_t slot) const;
  void forget_packed(const int32_t* slots, std::size_t count);
  void unfold(int32_t slot) const;
  void unfold_arguments(const Step& step) const;
  void release(const std::vector<int32_t>& slots);
  [[noreturn]] void fail_at(int32_t node, const std::string& problem) const;

  const Program& program_;
  const Plan& plan_;
  const void* pass_;
  bool training_;
  int32_t least_depth_ = 0;                  ///< of the hooks that are asked: a hook's own run asks those nested in it
  mutable std::vector<c10::IValue> values_;  ///< by slot; none yet where it is packed and nobody has asked
  c10::SmallVector<Packed, 6> packed_values_;  ///< few are alive at once
  std::vector<c10::IValue> stack_;             ///< of the operator that is running
  bool knows_form_ = false;                    ///< steps of the form are not run: another run's values are set
  std::shared_ptr<FormValues> form_;           ///< what this run computes of them; null: nobody keeps it
};

}  // namespace ta::exported
