// GraphReader's nodes: operators, arithmetic on sizes, regions and branches.

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "core/exported/graph_reader.h"
#include "core/exported/json_fields.h"
#include "core/exported/operators.h"
#include "core/exported/wire_types.h"
#include "core/state/dtype.h"

namespace ta::exported {
namespace {

const std::string& stack_of(const Json& node, const std::string* enclosing, const std::string& what) {
  static const std::string none;
  if (const Json* metadata = optional_field(node, "metadata")) {
    if (const Json* stack = optional_field(*metadata, "nn_module_stack")) return stack->as_string(what);
  }
  return enclosing ? *enclosing : none;
}

// "model.pt2, node 'linear_3'"
std::string place(const std::string& source, const Json& node) {
  const Json* name = optional_field(node, "name");
  return source + (name && name->is_string() ? ", node '" + name->as_string(source).substr(0, 200) + "'" : ", a node");
}

std::string innermost_path(const std::string& stack) {
  const std::string_view entry = std::string_view(stack).substr(stack.rfind(';') + 1);
  const std::size_t first = entry.find(',');
  if (first == std::string_view::npos) return {};
  return std::string(entry.substr(first + 1, entry.find(',', first + 1) - first - 1));
}

const Json& argument_of(const Json& input, const std::string& what) {
  return field(input, "arg", what);
}

// Of a region's arguments.
const Json& region_argument(const Json& region, std::size_t i, const std::string& what) {
  const Json::Array& inputs = field(region, "inputs", what).as_array(what);
  if (inputs.size() <= i) fail(ErrorCode::file_format, "read " + what, "a region without a graph");
  return argument_of(inputs[i], what);
}

const Json& region_graph(const Json& region, std::size_t i, const std::string& what) {
  return field(field(region_argument(region, i, what), "as_graph", what), "graph", what);
}

// torch.autocast(device_type, dtype, enabled, cache_enabled): it is for values on one kind of device, and passes others
// by. Values of a graph were all on one when it was exported, which stands for the one where it runs.
void set_autocast(const Json& region, std::optional<at::ScalarType>& type, const std::string& what) {
  const std::string& device = field(region_argument(region, 0, what), "as_string", what).as_string(what);
  for (const auto& [name, meta] : field(region_graph(region, 4, what), "tensor_values", what).as_object(what))
    if (field(field(meta, "device", what), "type", what).as_string(what) != device) return;
  type.reset();
  if (!field(region_argument(region, 2, what), "as_bool", what).as_bool(what)) return;
  const Json* given = optional_field(region_argument(region, 1, what), "as_scalar_type");
  // PyTorch's own where none is given.
  type = given ? wire_dtype(given->as_integer(what), what) : device == "cpu" ? at::kBFloat16 : at::kHalf;
  if (type == at::kBFloat16 || type == at::kHalf || type == at::kFloat) return;
  fail(ErrorCode::file_format, "read " + what, "torch.autocast in a type that it does not have",
       {.expected = "bfloat16, float16 or float32", .got = dtype_name(*type)});
}

}  // namespace

void GraphReader::read_nodes(const Json& graph, Scope& scope, std::vector<Node>& nodes, const Region& region) {
  for (const Json& node : field(graph, "nodes", source_).as_array(source_)) read_node(node, scope, nodes, region);
}

void GraphReader::read_node(const Json& json, Scope& scope, std::vector<Node>& nodes, const Region& region) {
  std::string what = place(source_, json);
  const std::string& target = field(json, "target", what).as_string(what);
  const std::string& stack = stack_of(json, region.stack, what);
  if (const std::string path = innermost_path(stack); !path.empty()) what += " in module '" + path + "'";
  Region here = region;
  here.stack = &stack;
  if (target == "torch.ops.higher_order.wrap_with_set_grad_enabled") {
    // torch.enable_grad() inside torch.no_grad().
    here.no_grad = !field(region_argument(json, 0, what), "as_bool", what).as_bool(what);
    return read_region(json, 1, scope, nodes, here, what);
  }
  if (target == "torch.ops.higher_order.wrap_with_autocast") {
    set_autocast(json, here.autocast, what);
    return read_region(json, 4, scope, nodes, here, what);
  }
  Node node;
  node.no_grad = region.no_grad, node.autocast = region.autocast;
  if (target == "torch.ops.higher_order.cond") {
    read_cond(json, scope, node, here, what);
  } else {
    const Operator& op = find_operator(target, what);
    node.op = &op;
    node.kind = op.kind;
    op.kind == Node::Kind::aten ? read_aten(json, op, scope, node, what) : read_symbolic(json, op, scope, node, what);
  }
  node.module = modules_.visit(stack, region.in_branch ? -1 : static_cast<int32_t>(nodes.size()));
  nodes.push_back(std::move(node));
}

void GraphReader::read_aten(const Json& json, const Operator& op, Scope& scope, Node& node, const std::string& what) {
  const c10::FunctionSchema& schema = op.schema();
  const std::vector<c10::Argument>& wanted = schema.arguments();
  node.arguments.resize(wanted.size());
  std::vector<bool> given(wanted.size());
  for (const Json& input : field(json, "inputs", what).as_array(what)) {
    const std::string& name = field(input, "name", what).as_string(what);
    const auto found =
        std::find_if(wanted.begin(), wanted.end(), [&](const c10::Argument& one) { return one.name() == name; });
    const std::size_t i = static_cast<std::size_t>(found - wanted.begin());
    if (found == wanted.end() || given[i]) {
      fail(ErrorCode::file_format, "read " + what,
           found == wanted.end() ? "no such argument" : "an argument is given twice",
           {.expected = text(schema), .got = "'" + name.substr(0, 80) + "'"});
    }
    given[i] = true;
    node.arguments[i] = read_argument(argument_of(input, what), *found, scope, what);
  }
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    if (given[i]) continue;
    if (const auto& standard = wanted[i].default_value()) {
      node.arguments[i].value = *standard;
    } else if (wanted[i].type()->kind() != c10::TypeKind::OptionalType) {
      fail(ErrorCode::file_format, "read " + what, "argument '" + wanted[i].name() + "' is missing",
           {.expected = text(schema)});
    }
  }
  const Json::Array& outputs = field(json, "outputs", what).as_array(what);
  const std::vector<c10::Argument>& returns = schema.returns();
  if (returns.size() == 1 && returns[0].type()->kind() == c10::TypeKind::ListType && outputs.size() == 1) {
    const auto& [tag, values] = tagged(outputs[0], what);
    if (tag != "as_tensors") fail(ErrorCode::file_format, "read " + what, "the operator gives a list of tensors");
    node.splits_list = true;
    for (const Json& value : values.as_array(what)) {
      node.outputs.push_back(define(scope, value_name(value, what), ValueKind::tensor, what));
    }
    return;
  }
  if (outputs.size() != returns.size() && !(returns.empty() && outputs.size() == 1)) {
    fail(ErrorCode::file_format, "read " + what, "the operator gives another number of values",
         {.expected = text(returns.size()), .got = text(outputs.size())});
  }
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const c10::Argument* gives = i < returns.size() ? &returns[i] : nullptr;
    node.outputs.push_back(define_output(outputs[i], scope, gives, what));
  }
}

int32_t GraphReader::define_output(const Json& output, Scope& scope, const c10::Argument* schema,
                                   const std::string& what) {
  const auto& [tag, value] = tagged(output, what);
  if (tag == "as_none") return -1;
  const bool is_tensor = tag == "as_tensor";
  const ValueKind kind = is_tensor               ? ValueKind::tensor
                         : tag == "as_sym_int"   ? ValueKind::integer
                         : tag == "as_sym_float" ? ValueKind::real
                                                 : ValueKind::boolean;
  const bool known = is_tensor || kind != ValueKind::boolean || tag == "as_sym_bool";
  if (!known || !schema || (schema->type()->kind() == c10::TypeKind::TensorType) != is_tensor) {
    fail(ErrorCode::file_format, "read " + what, "the operator gives no such value",
         {.expected = schema ? schema->type()->str() : "nothing", .got = tag.substr(0, 40)});
  }
  return define(scope, value_name(value, what), kind, what);
}

void GraphReader::read_symbolic(const Json& json, const Operator& op, Scope& scope, Node& node,
                                const std::string& what) {
  for (const Json& input : field(json, "inputs", what).as_array(what)) {
    Argument argument = read_plain_argument(argument_of(input, what), scope, what);
    const bool is_number = argument.kind == Argument::Kind::slot ? scope.kind(argument.slot) != ValueKind::tensor
                                                                 : argument.value.isScalar();
    if (!is_number) fail(ErrorCode::file_format, "read " + what, "arithmetic on sizes takes numbers");
    node.arguments.push_back(std::move(argument));
  }
  const Json::Array& outputs = field(json, "outputs", what).as_array(what);
  if (node.arguments.size() != op.arity || outputs.size() != 1) {
    fail(ErrorCode::file_format, "read " + what, op.name + " takes another number of numbers, or gives one",
         {.expected = text(op.arity), .got = text(node.arguments.size())});
  }
  static const c10::Argument number("", c10::NumberType::get());
  node.outputs.push_back(define_output(outputs[0], scope, &number, what));
}

void GraphReader::read_region(const Json& json, std::size_t graph_at, Scope& scope, std::vector<Node>& nodes,
                              const Region& inside, const std::string& what) {
  const Json::Array& inputs = field(json, "inputs", what).as_array(what);
  const Json& graph = region_graph(json, graph_at, what);
  const Json::Array& names = field(graph, "inputs", what).as_array(what);
  if (names.size() != inputs.size() - graph_at - 1) {
    fail(ErrorCode::file_format, "read " + what, "the region takes another number of values",
         {.expected = text(names.size()), .got = text(inputs.size() - graph_at - 1)});
  }
  Scope inner(kinds_);
  for (std::size_t i = 0; i < names.size(); ++i) {
    const Argument operand = read_plain_argument(argument_of(inputs[graph_at + 1 + i], what), scope, what);
    if (operand.kind != Argument::Kind::slot) {
      fail(ErrorCode::unsupported, "read " + what, "a region that takes a constant");
    }
    inner.slots.emplace(value_name(tagged(names[i], what).second, what), operand.slot);
  }
  read_nodes(graph, inner, nodes, inside);
  read_shapes(graph, inner);
  const Json::Array& made = field(graph, "outputs", what).as_array(what);
  const Json::Array& outputs = field(json, "outputs", what).as_array(what);
  if (made.size() != outputs.size())
    fail(ErrorCode::file_format, "read " + what, "the region gives more or fewer values");
  for (std::size_t i = 0; i < made.size(); ++i) {
    const auto& [tag, value] = tagged(outputs[i], what);
    if (tag == "as_none") continue;
    const Argument result = read_plain_argument(made[i], inner, what);
    if (result.kind != Argument::Kind::slot) {
      fail(ErrorCode::unsupported, "read " + what, "a region that gives a constant");
    }
    if (!scope.slots.emplace(value_name(value, what), result.slot).second) {
      fail(ErrorCode::file_format, "read " + what, "a value is made twice");
    }
  }
}

void GraphReader::read_cond(const Json& json, Scope& scope, Node& node, const Region& region, const std::string& what) {
  const Json::Array& inputs = field(json, "inputs", what).as_array(what);
  if (inputs.size() < 3) fail(ErrorCode::file_format, "read " + what, "torch.cond takes a predicate and two branches");
  node.op = &cond_operator();
  node.kind = Node::Kind::cond;
  node.arguments.push_back(read_plain_argument(argument_of(inputs[0], what), scope, what));
  std::vector<Argument> operands;
  for (std::size_t i = 3; i < inputs.size(); ++i) {
    const auto& [tag, value] = tagged(argument_of(inputs[i], what), what);
    if (tag != "as_tensors") {
      operands.push_back(read_plain_argument(argument_of(inputs[i], what), scope, what));
      continue;
    }
    for (const Json& tensor : value.as_array(what)) {
      Argument operand;
      operand.kind = Argument::Kind::slot;
      operand.slot = scope.tensor(value_name(tensor, what), what);
      operands.push_back(std::move(operand));
    }
  }
  for (const std::size_t i : {1, 2}) {
    Argument branch;
    branch.kind = Argument::Kind::branch;
    branch.slot = read_branch(argument_of(inputs[i], what), operands, scope, region, what);
    node.arguments.push_back(std::move(branch));
  }
  node.arguments.insert(node.arguments.end(), operands.begin(), operands.end());
  for (const Json& output : field(json, "outputs", what).as_array(what)) {
    const auto& [tag, value] = tagged(output, what);
    if (tag == "as_tensors") {
      for (const Json& tensor : value.as_array(what)) {
        node.outputs.push_back(define(scope, value_name(tensor, what), ValueKind::tensor, what));
      }
      continue;
    }
    if (tag != "as_tensor") fail(ErrorCode::unsupported, "read " + what, "torch.cond that gives numbers");
    node.outputs.push_back(define(scope, value_name(value, what), ValueKind::tensor, what));
  }
  for (std::size_t i : {1, 2}) {
    const Branch& branch = graph_.branches[static_cast<std::size_t>(node.arguments[i].slot)];
    if (branch.outputs.size() == node.outputs.size()) continue;
    fail(ErrorCode::file_format, "read " + what, "a branch gives more or fewer values than torch.cond");
  }
}

int32_t GraphReader::read_branch(const Json& argument, const std::vector<Argument>& operands, const Scope& scope,
                                 const Region& region, const std::string& what) {
  const Json& graph = field(field(argument, "as_graph", what), "graph", what);
  const Json::Array& names = field(graph, "inputs", what).as_array(what);
  if (names.size() != operands.size()) {
    fail(ErrorCode::file_format, "read " + what, "a branch takes another number of values",
         {.expected = text(operands.size()), .got = text(names.size())});
  }
  Branch branch;
  Scope inner(kinds_);
  for (std::size_t i = 0; i < names.size(); ++i) {
    const bool is_slot = operands[i].kind == Argument::Kind::slot;
    const ValueKind kind = is_slot                        ? scope.kind(operands[i].slot)
                           : operands[i].value.isDouble() ? ValueKind::real
                           : operands[i].value.isBool()   ? ValueKind::boolean
                                                          : ValueKind::integer;
    branch.inputs.push_back(define(inner, value_name(tagged(names[i], what).second, what), kind, what));
  }
  Region inside = region;
  inside.in_branch = true;
  read_nodes(graph, inner, branch.nodes, inside);
  read_shapes(graph, inner);
  for (const Json& output : field(graph, "outputs", what).as_array(what)) {
    Argument result = read_plain_argument(output, inner, what);
    if (result.kind != Argument::Kind::slot || inner.kind(result.slot) != ValueKind::tensor) {
      fail(ErrorCode::unsupported, "read " + what, "a branch of torch.cond that gives no tensor");
    }
    branch.outputs.push_back(std::move(result));
  }
  graph_.branches.push_back(std::move(branch));
  return static_cast<int32_t>(graph_.branches.size() - 1);
}

}  // namespace ta::exported
