#include "core/exported/execution.h"

#include <c10/core/GradMode.h>

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "core/exported/form_nodes.h"
#include "core/exported/modes.h"
#include "core/exported/plan.h"
#include "core/nn/gradient.h"

namespace ta::exported {
namespace {

using c10::IValue;

const c10::StorageImpl* memory_of(const at::Tensor& tensor) {
  return tensor.defined() && tensor.has_storage() ? tensor.storage().unsafeGetStorageImpl() : nullptr;
}

class DepthScope {
 public:
  DepthScope(int32_t& depth, int32_t inside) : depth_(depth), before_(std::exchange(depth, inside)) {}
  ~DepthScope() { depth_ = before_; }
  DepthScope(const DepthScope&) = delete;
  DepthScope& operator=(const DepthScope&) = delete;

 private:
  int32_t& depth_;
  int32_t before_;
};

}  // namespace

Execution::Execution(const Program& program, const void* pass, bool training)
    : program_(program), plan_(*program.plan_), pass_(pass), training_(training), values_(program.graph_.slots.size()) {
  for (const Program::Bound& bound : program.bound_) {
    if (!bound.tensor || !bound.tensor->defined()) {
      const SlotInfo& slot = program.graph_.slots[static_cast<std::size_t>(bound.slot)];
      fail(ErrorCode::invalid_argument, "run " + program.graph_.source, "a weight has no values",
           {.got = "'" + slot.name + "'", .hint = "Bind it or load weights first."});
    }
    values_[static_cast<std::size_t>(bound.slot)] = bound.is_parameter ? tracked(*bound.tensor) : *bound.tensor;
  }
}

void Execution::take(const std::vector<at::Tensor>& inputs) {
  program_.check_inputs(inputs);
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    values_[static_cast<std::size_t>(program_.user_inputs_[i])] = inputs[i];
  }
}

// Nodes up to `last`, with what another run of this form computed. Reading the sources is cheap on the CPU alone.
void Execution::run_up_to(int32_t last, const std::vector<at::Tensor>& inputs) {
  take(inputs);
  if (program_.device().is_cpu()) {
    const auto kept = program_.form_values();
    knows_form_ = kept && kept->last() >= last && kept->fits(inputs, plan_.form.sources, training_);
    if (knows_form_) {
      for (const auto& [slot, value] : kept->values()) values_[static_cast<std::size_t>(slot)] = value;
    } else {
      form_ = std::make_shared<FormValues>(inputs, plan_.form.sources, training_, last);
    }
  }
  run_nodes({0, last});
  if (form_ && form_->small()) program_.keep_form(std::move(form_));
}

at::Tensor Execution::run_to(int32_t slot, const std::vector<at::Tensor>& inputs) {
  const int32_t producer = program_.graph_.slots.at(static_cast<std::size_t>(slot)).producer;
  run_up_to(producer >= 0 ? plan_.end_of(producer) : -1, inputs);
  return tensor(slot);
}

std::vector<at::Tensor> Execution::run(const std::vector<at::Tensor>& inputs) {
  run_up_to(static_cast<int32_t>(plan_.steps.size()) - 1, inputs);
  std::vector<at::Tensor> outputs;
  for (const Argument& output : program_.graph_.outputs) {
    if (output.kind == Argument::Kind::slot && has(output.slot)) outputs.push_back(tensor(output.slot));
  }
  return outputs;
}

void Execution::run_nodes(Range range) {
  if (range.first < 0 || range.last >= static_cast<int32_t>(plan_.steps.size())) {
    fail(ErrorCode::invalid_argument, "run a part of " + program_.graph_.source, "no such nodes",
         {.expected = text("0 to ", plan_.steps.size() - 1), .got = text(range.first, " to ", range.last)});
  }
  Modes modes(program_.device().type());
  int32_t i = range.first;
  try {
    while (i <= range.last) {
      const Step& step = plan_.steps[static_cast<std::size_t>(i)];
      if (step.hook >= 0) {
        modes.set(step.no_grad, std::nullopt);
        const int32_t behind = ask(step.hook, range.last);
        if (behind > i) {
          i = behind;
          continue;
        }
      }
      modes.set(step.no_grad, step.autocast);
      execute(step);
      ++i;
    }
  } catch (const Error&) {
    throw;
  } catch (const c10::Error& error) {
    fail_at(i, error.what_without_backtrace());
  } catch (const std::bad_alloc&) {
    fail_at(i, "not enough memory");
  } catch (const std::exception& error) {
    fail_at(i, error.what());
  }
}

void Execution::fail_at(int32_t node, const std::string& problem) const {
  fail(ErrorCode::invalid_argument, "run " + program_.graph_.describe(node), problem.substr(0, problem.find('\n')),
       {.hint = "The graph does not work for inputs of these shapes."});
}

int32_t Execution::ask(int32_t hook, int32_t last) {
  for (; hook >= 0; hook = plan_.hooks[static_cast<std::size_t>(hook)].next) {
    const HookEntry& entry = plan_.hooks[static_cast<std::size_t>(hook)];
    if (entry.depth < least_depth_ || entry.range.last > last) continue;
    const DepthScope inside(least_depth_, entry.depth + 1);
    if (!entry.hook(*this, pass_)) continue;
    release(entry.dead);
    return entry.range.last + 1;
  }
  return -1;
}

void Execution::release(const std::vector<int32_t>& slots) {
  // Most of what dies behind a hook's range has never been made.
  for (const int32_t slot : slots)
    if (IValue& value = values_[static_cast<std::size_t>(slot)]; !value.isNone()) value = IValue();
  if (!packed_values_.empty()) forget_packed(slots.data(), slots.size());
}

void Execution::forget_packed(const int32_t* slots, std::size_t count) {
  const auto is_meant = [&](const Packed& one) { return std::find(slots, slots + count, one.slot) != slots + count; };
  packed_values_.erase(std::remove_if(packed_values_.begin(), packed_values_.end(), is_meant), packed_values_.end());
}

const Execution::Packed* Execution::find_packed(int32_t slot) const {
  for (const Packed& one : packed_values_)
    if (one.slot == slot) return &one;
  return nullptr;
}

void Execution::unfold(int32_t slot) const {
  const Packed* packed = find_packed(slot);
  if (!packed || !values_[static_cast<std::size_t>(slot)].isNone()) return;
  // Who asks first may be a part without gradients; others may have them.
  const c10::AutoGradMode mode(c10::GradMode::is_enabled() || packed->tensor.requires_grad());
  values_[static_cast<std::size_t>(slot)] =
      packed->tensor.view({packed->rows, packed->columns, packed->tensor.size(1)});
}

void Execution::unfold_arguments(const Step& step) const {
  for (const Load& load : step.loads) {
    if (load.slot >= 0) unfold(load.slot);
    for (const Argument::Item& item : load.items)
      if (item.slot >= 0) unfold(item.slot);
  }
}

void Execution::execute(const Step& step) {
  if (step.of_form && knows_form_) return;
  const Step::Action action = training_ ? step.training : step.evaluating;
  if (!packed_values_.empty() && action != Step::Action::skip) {
    if (const Packed* packed = action == Step::Action::pass_on ? find_packed(step.loads[0].slot) : nullptr) {
      set_packed(step.outputs[0], packed->tensor, packed->rows, packed->columns);
      release(step.dead);
      return;
    }
    unfold_arguments(step);
  }
  switch (action) {
    case Step::Action::fast:
      step.fast_path(step, values_.data(), training_);
      break;
    case Step::Action::call:
      call(step);
      break;
    case Step::Action::pass_on:
      values_[static_cast<std::size_t>(step.outputs[0])] = value_of(step.loads[0]);
      break;
    case Step::Action::skip:
      break;
    case Step::Action::symbolic: {
      IValue arguments[3];
      for (std::size_t i = 0; i < step.loads.size(); ++i) arguments[i] = value_of(step.loads[i]);
      if (step.outputs[0] >= 0) values_[static_cast<std::size_t>(step.outputs[0])] = step.op->symbolic(arguments);
      break;
    }
    case Step::Action::branch:
      branch(step);
      break;
  }
  if (step.of_form && form_) {
    for (const int32_t output : step.outputs)
      if (output >= 0) form_->add(output, values_[static_cast<std::size_t>(output)]);
  }
  release(step.dead);
}

IValue Execution::value_of(const Load& load) {
  const auto value = [&](int32_t slot) -> const IValue& { return values_[static_cast<std::size_t>(slot)]; };
  switch (load.kind) {
    case Load::Kind::constant:
      return load.value;
    case Load::Kind::mode:
      return training_ ? load.value : load.evaluating;
    case Load::Kind::copy:
      return value(load.slot);
    case Load::Kind::move:
      return std::move(values_[static_cast<std::size_t>(load.slot)]);
    case Load::Kind::wrapped:
      return wrapped_number(value(load.slot));
    case Load::Kind::integers: {
      c10::List<int64_t> list;
      list.reserve(load.items.size());
      for (const Argument::Item& item : load.items)
        list.push_back(item.slot < 0 ? item.number : value(item.slot).toInt());
      return list;
    }
    case Load::Kind::tensors: {
      c10::List<at::Tensor> list;
      list.reserve(load.items.size());
      for (const Argument::Item& item : load.items) list.push_back(value(item.slot).toTensor());
      return list;
    }
    case Load::Kind::optional_tensors: {
      c10::List<std::optional<at::Tensor>> list;
      list.reserve(load.items.size());
      for (const Argument::Item& item : load.items) {
        list.push_back(item.slot < 0 ? std::optional<at::Tensor>() : value(item.slot).toTensor());
      }
      return list;
    }
  }
  return {};
}

void Execution::call(const Step& step) {
  if (step.written >= 0) protect(step);
  stack_.clear();
  for (const Load& load : step.loads) stack_.push_back(value_of(load));
  if (step.op->guard) step.op->guard(stack_);
  step.op->handle->callBoxed(stack_);
  if (!step.splits_list) {
    for (std::size_t i = 0; i < step.outputs.size() && i < stack_.size(); ++i) {
      if (step.outputs[i] >= 0) values_[static_cast<std::size_t>(step.outputs[i])] = std::move(stack_[i]);
    }
    return;
  }
  std::vector<at::Tensor> parts = stack_.at(0).toTensorVector();
  if (parts.size() != step.outputs.size()) {
    fail(ErrorCode::invalid_argument, "run " + step.op->name, "it gives another number of tensors than at export",
         {.expected = text(step.outputs.size()), .got = text(parts.size())});
  }
  for (std::size_t i = 0; i < parts.size(); ++i) {
    values_[static_cast<std::size_t>(step.outputs[i])] = std::move(parts[i]);
  }
}

void Execution::protect(const Step& step) const {
  const c10::StorageImpl* memory = memory_of(tensor(step.written));
  const auto refuse = [&] {
    fail(ErrorCode::unsupported, "run " + step.op->name, "the graph changes a weight or an input in place",
         {.expected = "weights and inputs that are only read",
          .hint = "Write it in the model as an operation that gives a new tensor."});
  };
  if (!memory) return;
  for (const Program::Bound& bound : program_.bound_) {
    if (memory_of(*bound.tensor) == memory) refuse();
  }
  for (const int32_t slot : program_.user_inputs_) {
    if (memory_of(tensor(slot)) == memory) refuse();
  }
}

void Execution::branch(const Step& step) {
  const IValue predicate = value_of(step.loads[0]);
  const bool taken = predicate.isTensor() ? predicate.toTensor().item<bool>() : predicate.toBool();
  const BranchPlan& plan = plan_.branches[static_cast<std::size_t>(step.loads[taken ? 1 : 2].slot)];
  for (std::size_t i = 0; i < plan.inputs.size(); ++i) {
    values_[static_cast<std::size_t>(plan.inputs[i])] = value_of(step.loads[3 + i]);
  }
  {
    Modes modes(program_.device().type());
    for (const Step& inner : plan.steps) {
      modes.set(inner.no_grad, inner.autocast);
      execute(inner);
    }
  }
  for (std::size_t i = 0; i < plan.outputs.size(); ++i) {
    if (step.outputs[i] >= 0) {
      values_[static_cast<std::size_t>(step.outputs[i])] = values_[static_cast<std::size_t>(plan.outputs[i])];
    }
  }
  for (const int32_t slot : plan.dead) values_[static_cast<std::size_t>(slot)] = IValue();
}

const at::Tensor& Execution::tensor(int32_t slot) const {
  static const at::Tensor none;
  const IValue& value = values_.at(static_cast<std::size_t>(slot));
  if (!packed_values_.empty()) unfold(slot);
  return value.isTensor() ? value.toTensor() : none;
}

const at::Tensor& Execution::packed(int32_t slot) const {
  static const at::Tensor none;
  const Packed* packed = find_packed(slot);
  return packed ? packed->tensor : none;
}

int64_t Execution::number(int32_t slot) const {
  return values_.at(static_cast<std::size_t>(slot)).toInt();
}

void Execution::set(int32_t slot, at::Tensor value) {
  values_.at(static_cast<std::size_t>(slot)) = std::move(value);
  if (!packed_values_.empty()) forget_packed(&slot, 1);
}

void Execution::set_packed(int32_t slot, at::Tensor packed, int64_t rows, int64_t columns) {
  values_.at(static_cast<std::size_t>(slot)) = IValue();
  keep_packed(slot, std::move(packed), rows, columns);
}

void Execution::keep_packed(int32_t slot, at::Tensor packed, int64_t rows, int64_t columns) {
  if (!packed_values_.empty()) forget_packed(&slot, 1);
  packed_values_.push_back({slot, std::move(packed), rows, columns});
}

}  // namespace ta::exported
