#pragma once
// The operators that a graph may name. A graph is a program that someone else wrote: it may use ATen's arithmetic on
// tensors, and nothing that reads files, prints, lets memory be read before it is written, or looks past a tensor's end
// (as_strided, unchecked indices, kernels that trust sizes given beside the tensors). Everything else is refused when
// the archive is read.

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/ivalue.h>

#include <optional>
#include <string>
#include <vector>

#include "core/exported/graph.h"

namespace ta::exported {

/// Python's arithmetic on sizes: takes numbers, gives one.
using SymbolicFunction = c10::IValue (*)(const c10::IValue* arguments);
/// Checks what the operator's kernel does not. Throws ERR_INVALID_ARGUMENT.
using Guard = void (*)(const std::vector<c10::IValue>& arguments);

struct Operator {
  std::string name;  ///< without "torch.ops."
  Node::Kind kind = Node::Kind::aten;
  std::optional<c10::OperatorHandle> handle;  ///< aten
  SymbolicFunction symbolic = nullptr;
  std::size_t arity = 0;  ///< symbolic
  Guard guard = nullptr;
  std::vector<bool> writes;  ///< aten: whether the operator changes argument i

  const c10::FunctionSchema& schema() const { return handle->schema(); }
  /// "linear" of "aten.linear.default".
  std::string base_name() const;
};

/// By the target that the archive names ("torch.ops.aten.linear.default", "_operator.add"); `what` says where.
/// ERR_UNSUPPORTED where it is none of the allowed.
const Operator& find_operator(const std::string& target, const std::string& what);
/// The node that stands for torch.cond.
const Operator& cond_operator();

/// A number where an operator takes a tensor. Python's numbers give way to tensors in what type a result has; libtorch
/// calls them wrapped numbers.
c10::IValue wrapped_number(const c10::IValue& number);

/// operator_list.cc: names of ATen operators, any overload that takes and gives what graphs can hold.
bool is_allowed(std::string_view base_name);
/// operator_guards.cc; null: none is needed.
Guard guard_of(std::string_view base_name);
/// symbolic.cc; null: no such function. Sets `arity`.
SymbolicFunction find_symbolic(std::string_view target, std::size_t& arity);

}  // namespace ta::exported
