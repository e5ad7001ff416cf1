#include "core/exported/operators.h"

#include <ATen/ops/scalar_tensor.h>

#include <memory>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "core/error.h"

namespace ta::exported {
namespace {

constexpr std::string_view aten = "torch.ops.aten.";

[[noreturn]] void refuse(const std::string& target, const std::string& what, const char* problem, const char* hint) {
  fail(ErrorCode::unsupported, "read " + what, problem, {.got = "'" + target.substr(0, 200) + "'", .hint = hint});
}

// What a graph can hand over and take: tensors, lists of them, numbers, booleans, strings and devices.
bool can_pass(const c10::Argument& argument) {
  c10::TypePtr type = argument.type();
  if (const auto optional = type->cast<c10::OptionalType>()) type = optional->getElementType();
  // None is all that is ever given as a generator.
  if (type->kind() == c10::TypeKind::GeneratorType) return true;
  return type->kind() != c10::TypeKind::AnyType && type->kind() != c10::TypeKind::StorageType &&
         type->kind() != c10::TypeKind::DictType && type->kind() != c10::TypeKind::ClassType;
}

bool is_written(const c10::Argument& argument) {
  return argument.alias_info() != nullptr && argument.alias_info()->isWrite();
}

Operator make_aten(const std::string& target, const std::string& what) {
  const std::string_view rest = std::string_view(target).substr(aten.size());
  const std::size_t dot = rest.find('.');
  const std::string base(rest.substr(0, dot));
  if (dot == std::string_view::npos || !is_allowed(base)) {
    refuse(target, what, "an operator that exported models may not use here",
           "Write the model without it, or ask for it in an issue if it only computes.");
  }
  std::string overload(rest.substr(dot + 1));
  // Of recurrent layers: rows of one length, not those that are packed together with counts of their own.
  if (overload == "data") refuse(target, what, "an overload that exported models may not use here", "");
  if (overload == "default") overload.clear();
  const auto handle = c10::Dispatcher::singleton().findSchema({"aten::" + base, overload});
  if (!handle) {
    refuse(target, what, "this libtorch has no such operator", "Export the model with the libtorch's own version.");
  }
  Operator op;
  op.name = target.substr(std::string_view("torch.ops.").size());
  op.handle = *handle;
  op.guard = guard_of(base);
  for (const c10::Argument& argument : handle->schema().arguments()) {
    // aten.add.out and the like: results go to a tensor that was made for them.
    if (!can_pass(argument) || (argument.kwarg_only() && is_written(argument))) {
      refuse(target, what, "an overload that exported models may not use here", "");
    }
    op.writes.push_back(is_written(argument));
  }
  return op;
}

Operator make_operator(const std::string& target, const std::string& what) {
  if (target.starts_with(aten)) return make_aten(target, what);
  Operator op;
  op.symbolic = find_symbolic(target, op.arity);
  if (!op.symbolic) {
    refuse(target, what, "an operator that exported models may not use here",
           "Only ATen's operators are run: export the model without custom operators.");
  }
  op.kind = Node::Kind::symbolic;
  op.name = target;
  return op;
}

}  // namespace

std::string Operator::base_name() const {
  if (kind != Node::Kind::aten) return name;
  const std::size_t begin = name.find('.') + 1;
  return name.substr(begin, name.find('.', begin) - begin);
}

const Operator& find_operator(const std::string& target, const std::string& what) {
  // Only what is allowed is kept, so a hostile file cannot fill it.
  static std::mutex mutex;
  static std::unordered_map<std::string, std::unique_ptr<const Operator>> known;
  const std::lock_guard lock(mutex);
  std::unique_ptr<const Operator>& found = known[target];
  if (found) return *found;
  try {
    found = std::make_unique<const Operator>(make_operator(target, what));
  } catch (...) {
    known.erase(target);
    throw;
  }
  return *found;
}

c10::IValue wrapped_number(const c10::IValue& number) {
  const at::ScalarType dtype = number.isComplexDouble() ? at::kComplexDouble
                               : number.isDouble()      ? at::kDouble
                               : number.isBool()        ? at::kBool
                                                        : at::kLong;
  at::Tensor tensor = at::scalar_tensor(number.toScalar(), dtype);
  tensor.unsafeGetTensorImpl()->set_wrapped_number(true);
  return tensor;
}

const Operator& cond_operator() {
  static const Operator op = [] {
    Operator cond;
    cond.name = "higher_order.cond";
    cond.kind = Node::Kind::cond;
    return cond;
  }();
  return op;
}

}  // namespace ta::exported
