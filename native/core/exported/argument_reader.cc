#include "core/exported/argument_reader.h"

#include <cstdlib>
#include <utility>

#include "core/error.h"
#include "core/exported/json_fields.h"
#include "core/exported/wire_types.h"

namespace ta::exported {
namespace {

using c10::IValue;
using c10::TypeKind;

[[noreturn]] void misfit(const std::string& tag, const c10::Argument& schema, const std::string& what) {
  fail(ErrorCode::file_format, "read " + what, "argument '" + schema.name() + "' is of another kind",
       {.expected = schema.type()->str(), .got = tag.substr(0, 40)});
}

Argument constant(IValue value) {
  Argument argument;
  argument.value = std::move(value);
  return argument;
}

Argument from_slot(int32_t slot) {
  Argument argument;
  argument.kind = Argument::Kind::slot;
  argument.slot = slot;
  return argument;
}

Argument list_of(Argument::List list) {
  Argument argument;
  argument.kind = Argument::Kind::list;
  argument.list = list;
  return argument;
}

double read_real(const Json& json, const std::string& what) {
  if (!json.is_string()) return json.as_number(what);
  const std::string& word = json.as_string(what);
  constexpr double infinity = std::numeric_limits<double>::infinity();
  if (word == "Infinity") return infinity;
  if (word == "-Infinity") return -infinity;
  if (word == "NaN") return std::numeric_limits<double>::quiet_NaN();
  fail(ErrorCode::file_format, "read " + what, "not a number", {.got = "'" + word.substr(0, 40) + "'"});
}

// A number that is written down or a value's name; false where `tag` is neither.
bool read_number(const std::string& tag, const Json& value, const Scope& scope, const std::string& what,
                 Argument& into) {
  if (tag == "as_int") {
    into = constant(value.as_integer(what));
  } else if (tag == "as_float") {
    into = constant(read_real(value, what));
  } else if (tag == "as_bool") {
    into = constant(value.as_bool(what));
  } else if (tag == "as_sym_int" || tag == "as_sym_float" || tag == "as_sym_bool") {
    const auto& [inner, number] = tagged(value, what);
    if (inner != "as_name") return read_number(inner, number, scope, what, into);
    into = from_slot(scope.number(number.as_string(what), what));
  } else {
    return false;
  }
  return true;
}

// A number as PyTorch takes it beside tensors, whole, real or complex.
bool read_any_number(const std::string& tag, const Json& value, const Scope& scope, const std::string& what,
                     Argument& into) {
  if (tag != "as_complex") return read_number(tag, value, scope, what, into);
  into = constant(
      c10::complex<double>(read_real(field(value, "real", what), what), read_real(field(value, "imag", what), what)));
  return true;
}

Argument read_tensor(const std::string& tag, const Json& value, const c10::Argument& schema, const Scope& scope,
                     const std::string& what) {
  if (tag == "as_tensor") return from_slot(scope.tensor(value_name(value, what), what));
  if (tag == "as_optional_tensor") {
    const auto& [inner, tensor] = tagged(value, what);
    return inner == "as_tensor" ? from_slot(scope.tensor(value_name(tensor, what), what)) : constant({});
  }
  Argument number;
  if (!read_any_number(tag, value, scope, what, number)) misfit(tag, schema, what);
  if (number.kind == Argument::Kind::constant) return constant(wrapped_number(number.value));
  number.wrapped = true;
  return number;
}

Argument read_integer(const std::string& tag, const Json& value, const c10::Argument& schema, const Scope& scope,
                      const std::string& what) {
  c10::TypePtr real = schema.real_type();
  if (const auto optional = real->cast<c10::OptionalType>()) real = optional->getElementType();
  // libtorch takes these as integers and believes them.
  switch (real->kind()) {
    case TypeKind::ScalarTypeType:
      if (tag != "as_scalar_type") misfit(tag, schema, what);
      return constant(static_cast<int64_t>(wire_dtype(value.as_integer(what), what)));
    case TypeKind::LayoutType:
      if (tag != "as_layout") misfit(tag, schema, what);
      require_dense_layout(value.as_integer(what), what);
      return constant(static_cast<int64_t>(at::kStrided));
    case TypeKind::MemoryFormatType:
      if (tag != "as_memory_format") misfit(tag, schema, what);
      return constant(static_cast<int64_t>(wire_memory_format(value.as_integer(what), what)));
    default:
      break;
  }
  Argument number;
  if (!read_number(tag, value, scope, what, number)) misfit(tag, schema, what);
  const bool fits = number.kind == Argument::Kind::slot ? scope.kind(number.slot) == ValueKind::integer
                                                        : number.value.isInt() || number.value.isBool();
  if (!fits) misfit(tag, schema, what);
  if (number.value.isBool()) number.value = static_cast<int64_t>(number.value.toBool());
  return number;
}

Argument read_real_argument(const std::string& tag, const Json& value, const c10::Argument& schema, const Scope& scope,
                            const std::string& what) {
  Argument number;
  if (!read_number(tag, value, scope, what, number)) misfit(tag, schema, what);
  const bool fits =
      number.kind == Argument::Kind::slot ? scope.kind(number.slot) == ValueKind::real : !number.value.isBool();
  if (!fits) misfit(tag, schema, what);
  if (number.value.isInt()) number.value = static_cast<double>(number.value.toInt());
  return number;
}

Argument read_boolean(const std::string& tag, const Json& value, const c10::Argument& schema, const Scope& scope,
                      const std::string& what) {
  Argument number;
  if (!read_number(tag, value, scope, what, number)) misfit(tag, schema, what);
  const bool fits =
      number.kind == Argument::Kind::slot ? scope.kind(number.slot) == ValueKind::boolean : number.value.isBool();
  if (!fits) misfit(tag, schema, what);
  return number;
}

// Where every item is written down the list is made once.
Argument fixed_if_constant(Argument argument) {
  c10::List<int64_t> numbers;
  for (const Argument::Item& item : argument.items) {
    if (item.slot >= 0) return argument;
    numbers.push_back(item.number);
  }
  return constant(std::move(numbers));
}

Argument read_integers(const std::string& tag, const Json& value, const c10::Argument& schema, const Scope& scope,
                       const std::string& what) {
  Argument argument = list_of(Argument::List::integers);
  const auto add = [&](const std::string& item_tag, const Json& item) {
    Argument number;
    if (item_tag == "as_name") {
      number = from_slot(scope.number(item.as_string(what), what));
    } else if (!read_number(item_tag, item, scope, what, number)) {
      misfit(item_tag, schema, what);
    }
    if (number.kind == Argument::Kind::slot) {
      if (scope.kind(number.slot) != ValueKind::integer) misfit(item_tag, schema, what);
      argument.items.push_back({number.slot, 0});
    } else {
      if (!number.value.isInt()) misfit(item_tag, schema, what);
      argument.items.push_back({-1, number.value.toInt()});
    }
  };
  if (tag == "as_ints") {
    for (const Json& item : value.as_array(what)) add("as_int", item);
  } else if (tag == "as_sym_ints") {
    for (const Json& item : value.as_array(what)) {
      const auto& [item_tag, number] = tagged(item, what);
      add(item_tag, number);
    }
  } else if (tag == "as_int" || tag == "as_sym_int") {
    // kernel_size=3 is (3, 3).
    for (int32_t i = 0; i < schema.N().value_or(1); ++i) add(tag, value);
  } else {
    misfit(tag, schema, what);
  }
  return fixed_if_constant(std::move(argument));
}

Argument read_reals(const std::string& tag, const Json& value, const c10::Argument& schema, const std::string& what) {
  if (tag != "as_floats" && tag != "as_ints") misfit(tag, schema, what);
  c10::List<double> numbers;
  for (const Json& item : value.as_array(what)) numbers.push_back(read_real(item, what));
  return constant(std::move(numbers));
}

Argument read_booleans(const std::string& tag, const Json& value, const c10::Argument& schema,
                       const std::string& what) {
  if (tag != "as_bools") misfit(tag, schema, what);
  c10::List<bool> booleans;
  for (const Json& item : value.as_array(what)) booleans.push_back(item.as_bool(what));
  return constant(std::move(booleans));
}

Argument read_tensors(const std::string& tag, const Json& value, bool optional, const c10::Argument& schema,
                      const Scope& scope, const std::string& what) {
  Argument argument = list_of(optional ? Argument::List::optional_tensors : Argument::List::tensors);
  if (tag == "as_tensors") {
    for (const Json& item : value.as_array(what)) {
      argument.items.push_back({scope.tensor(value_name(item, what), what), 0});
    }
  } else if (tag == "as_optional_tensors" && optional) {
    for (const Json& item : value.as_array(what)) {
      const auto& [item_tag, tensor] = tagged(item, what);
      argument.items.push_back({item_tag == "as_tensor" ? scope.tensor(value_name(tensor, what), what) : -1, 0});
    }
  } else {
    misfit(tag, schema, what);
  }
  return argument;
}

Argument read_list(const std::string& tag, const Json& value, const c10::TypePtr& element, const c10::Argument& schema,
                   const Scope& scope, const std::string& what) {
  switch (element->kind()) {
    case TypeKind::IntType:
      return read_integers(tag, value, schema, scope, what);
    case TypeKind::FloatType:
      return read_reals(tag, value, schema, what);
    case TypeKind::BoolType:
      return read_booleans(tag, value, schema, what);
    case TypeKind::TensorType:
      return read_tensors(tag, value, false, schema, scope, what);
    case TypeKind::OptionalType:
      if (element->castRaw<c10::OptionalType>()->getElementType()->kind() == TypeKind::TensorType) {
        return read_tensors(tag, value, true, schema, scope, what);
      }
      [[fallthrough]];
    default:
      misfit(tag, schema, what);
  }
}

}  // namespace

int32_t Scope::tensor(const std::string& name, const std::string& what) const {
  const auto found = slots.find(name);
  if (found != slots.end() && kind(found->second) == ValueKind::tensor) return found->second;
  fail(ErrorCode::file_format, "read " + what, "a tensor is used that nothing before it makes",
       {.got = "'" + name.substr(0, 200) + "'"});
}

int32_t Scope::number(const std::string& name, const std::string& what) const {
  const auto found = slots.find(name);
  if (found != slots.end() && kind(found->second) != ValueKind::tensor) return found->second;
  fail(ErrorCode::file_format, "read " + what, "a number is used that nothing before it makes",
       {.got = "'" + name.substr(0, 200) + "'"});
}

Argument read_argument(const Json& json, const c10::Argument& schema, const Scope& scope, const std::string& what) {
  const auto& [tag, value] = tagged(json, what);
  c10::TypePtr type = schema.type();
  const auto optional = type->cast<c10::OptionalType>();
  if (optional) type = optional->getElementType();
  if (tag == "as_none") {
    if (!optional) misfit(tag, schema, what);
    return constant({});
  }
  switch (type->kind()) {
    case TypeKind::TensorType:
      return read_tensor(tag, value, schema, scope, what);
    case TypeKind::IntType:
      return read_integer(tag, value, schema, scope, what);
    case TypeKind::FloatType:
      return read_real_argument(tag, value, schema, scope, what);
    case TypeKind::BoolType:
      return read_boolean(tag, value, schema, scope, what);
    case TypeKind::NumberType: {
      Argument number;
      if (!read_any_number(tag, value, scope, what, number)) misfit(tag, schema, what);
      return number;
    }
    case TypeKind::StringType:
      if (tag != "as_string") misfit(tag, schema, what);
      return constant(value.as_string(what));
    case TypeKind::DeviceObjType:
      // Where the program runs is for its user to say.
      if (tag != "as_device") misfit(tag, schema, what);
      return constant(at::Device(at::kCPU));
    case TypeKind::ListType:
      return read_list(tag, value, type->castRaw<c10::ListType>()->getElementType(), schema, scope, what);
    default:
      misfit(tag, schema, what);
  }
}

Argument read_plain_argument(const Json& json, const Scope& scope, const std::string& what) {
  const auto& [tag, value] = tagged(json, what);
  Argument argument;
  if (tag == "as_none") return argument;
  if (tag == "as_tensor") return from_slot(scope.tensor(value_name(value, what), what));
  if (tag == "as_string") return constant(value.as_string(what));
  if (read_number(tag, value, scope, what, argument)) return argument;
  fail(ErrorCode::unsupported, "read " + what, "a value of this kind is not taken here", {.got = tag.substr(0, 40)});
}

}  // namespace ta::exported
