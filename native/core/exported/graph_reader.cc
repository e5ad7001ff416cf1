#include "core/exported/graph_reader.h"

#include <algorithm>
#include <map>
#include <utility>

#include "core/error.h"
#include "core/exported/json_fields.h"
#include "core/exported/operators.h"
#include "core/exported/wire_types.h"

namespace ta::exported {
namespace {

constexpr int64_t schema_major = 8;

const Json& graph_module(const Json& model, const std::string& source) {
  const std::string what = source + ", schema_version";
  const int64_t major = field(field(model, "schema_version", source), "major", what).as_integer(what);
  if (major != schema_major) {
    fail(ErrorCode::unsupported, "read " + source, "a version of the format that is not read",
         {.expected = text("schema ", schema_major),
          .got = text(major),
          .hint = "Export the model again with a torch near this libtorch's version."});
  }
  return field(model, "graph_module", source);
}

}  // namespace

GraphReader::GraphReader(const Json& model, const std::string& source, const SameModules& same)
    : model_(model),
      module_(graph_module(model, source)),
      source_(source),
      main_(kinds_),
      modules_(optional_field(module_, "module_call_graph"), source, same) {}

Graph GraphReader::read() {
  graph_.source = source_;
  if (const Json* version = optional_field(model_, "torch_version")) graph_.torch_version = version->as_string(source_);
  const Json& graph = field(module_, "graph", source_);
  read_inputs();
  read_nodes(graph, main_, graph_.nodes, {});
  read_shapes(graph, main_);
  read_outputs(main_);
  read_ranges();
  const auto slot_of = [&](const std::string& name) {
    const auto found = main_.slots.find(name);
    return found != main_.slots.end() && main_.kind(found->second) == ValueKind::tensor ? found->second : -1;
  };
  graph_.modules = modules_.finish(static_cast<int32_t>(graph_.nodes.size()), slot_of);
  link();
  return std::move(graph_);
}

void GraphReader::read_inputs() {
  const std::string what = source_ + ", input_specs";
  const Json::Array& specs = field(field(module_, "signature", source_), "input_specs", what).as_array(what);
  const Json::Array& inputs = field(field(module_, "graph", source_), "inputs", what).as_array(what);
  if (specs.size() != inputs.size()) {
    fail(ErrorCode::file_format, "read " + what, "the graph has another number of inputs",
         {.expected = text(inputs.size()), .got = text(specs.size())});
  }
  for (std::size_t i = 0; i < specs.size(); ++i) {
    const auto& [kind, spec] = tagged(specs[i], what);
    read_input(kind, spec, i);
  }
}

void GraphReader::read_input(const std::string& kind, const Json& spec, std::size_t position) {
  const std::string what = text(source_, ", input ", position);
  // A number or a flag that was fixed at export: nothing in the graph reads it.
  if (kind == "constant_input") return;
  const Json& argument = field(spec, "arg", what);
  Input input;
  const std::string* value = nullptr;
  if (kind == "user_input") {
    const auto& [tag, tensor] = tagged(argument, what);
    if (tag != "as_tensor") {
      fail(ErrorCode::unsupported, "read " + what, "an input that is no tensor",
           {.got = tag.substr(0, 40), .hint = "Export the model with tensors as its only inputs."});
    }
    value = &value_name(tensor, what);
    input.name = *value;
  } else {
    value = &value_name(argument, what);
    if (kind == "parameter") {
      input.kind = Input::Kind::parameter;
      input.name = field(spec, "parameter_name", what).as_string(what);
    } else if (kind == "buffer") {
      input.kind = Input::Kind::buffer;
      input.name = field(spec, "buffer_name", what).as_string(what);
      const Json* persistent = optional_field(spec, "persistent");
      input.persistent = !persistent || persistent->as_bool(what);
    } else if (kind == "tensor_constant") {
      input.kind = Input::Kind::constant;
      input.name = field(spec, "tensor_constant_name", what).as_string(what);
      input.persistent = false;
    } else {
      fail(ErrorCode::unsupported, "read " + what, "an input of this kind cannot be given here",
           {.expected = "tensors", .got = kind.substr(0, 40)});
    }
  }
  input.slot = define(main_, *value, ValueKind::tensor, what);
  graph_.inputs.push_back(std::move(input));
}

void GraphReader::read_outputs(const Scope& scope) {
  const std::string what = source_ + ", outputs";
  for (const Json& spec : field(field(module_, "signature", source_), "output_specs", what).as_array(what)) {
    const std::string& kind = tagged(spec, what).first;
    if (kind == "user_output") continue;
    fail(ErrorCode::unsupported, "read " + what, "the graph gives more than the model's outputs",
         {.got = kind.substr(0, 40), .hint = "Save what torch.export.export gave, without run_decompositions()."});
  }
  for (const Json& output : field(field(module_, "graph", source_), "outputs", what).as_array(what)) {
    graph_.outputs.push_back(read_plain_argument(output, scope, what));
  }
  const auto is_mixed = [](const Node& node) { return node.autocast.has_value(); };
  if (std::none_of(graph_.nodes.begin(), graph_.nodes.end(), is_mixed)) return;
  std::map<int32_t, int32_t> widened;
  for (Argument& output : graph_.outputs) {
    if (output.kind != Argument::Kind::slot) continue;
    const auto [known, is_new] = widened.try_emplace(output.slot, -1);
    if (is_new) known->second = widen(output.slot, what);
    output.slot = known->second;
  }
}

// What torch.autocast made short comes out in float32.
int32_t GraphReader::widen(int32_t slot, const std::string& what) {
  const SlotInfo before = graph_.slots[static_cast<std::size_t>(slot)];
  if (!before.is_real() || before.dtype == at::kFloat) return slot;
  Node node;
  node.op = &find_operator("torch.ops.aten.to.dtype", what);
  node.arguments.resize(node.op->schema().arguments().size());
  node.arguments[0].kind = Argument::Kind::slot, node.arguments[0].slot = slot;
  node.arguments[1].value = static_cast<int64_t>(at::kFloat);
  node.arguments[2].value = node.arguments[3].value = false;
  const int32_t made = define(main_, before.name + " in float32", ValueKind::tensor, what);
  SlotInfo& after = graph_.slots[static_cast<std::size_t>(made)];
  after.dtype = at::kFloat, after.shape = before.shape;
  node.outputs = {made};
  graph_.nodes.push_back(std::move(node));
  return made;
}

int32_t GraphReader::define(Scope& scope, const std::string& name, ValueKind kind, const std::string& what) {
  const int32_t slot = static_cast<int32_t>(kinds_.size());
  if (!scope.slots.emplace(name, slot).second) {
    fail(ErrorCode::file_format, "read " + what, "a value is made twice", {.got = "'" + name.substr(0, 200) + "'"});
  }
  kinds_.push_back(kind);
  SlotInfo info;
  info.name = name;
  info.is_tensor = kind == ValueKind::tensor;
  graph_.slots.push_back(std::move(info));
  return slot;
}

void GraphReader::read_shapes(const Json& graph, const Scope& scope) {
  const std::string what = source_ + ", tensor_values";
  for (const auto& [name, meta] : field(graph, "tensor_values", what).as_object(what)) {
    const auto found = scope.slots.find(name);
    if (found == scope.slots.end()) continue;
    SlotInfo& slot = graph_.slots[static_cast<std::size_t>(found->second)];
    // A name for a value of a region: known from there.
    if (!slot.is_tensor || slot.dtype) continue;
    slot.dtype = wire_dtype(field(meta, "dtype", what).as_integer(what), what);
    for (const Json& size : field(meta, "sizes", what).as_array(what)) slot.shape.push_back(read_size(size, what));
  }
}

// Every value's readers and maker, once all nodes stand.
void GraphReader::link() {
  const auto use = [&](const Argument& argument, int32_t node) {
    Graph::each_slot(argument, [&](int32_t slot) {
      std::vector<int32_t>& users = graph_.slots[static_cast<std::size_t>(slot)].users;
      if (users.empty() || users.back() != node) users.push_back(node);
    });
  };
  for (std::size_t i = 0; i < graph_.nodes.size(); ++i) {
    const Node& node = graph_.nodes[i];
    for (const Argument& argument : node.arguments) use(argument, static_cast<int32_t>(i));
    for (const int32_t slot : node.outputs) {
      if (slot >= 0) graph_.slots[static_cast<std::size_t>(slot)].producer = static_cast<int32_t>(i);
    }
  }
  for (const Argument& output : graph_.outputs) {
    Graph::each_slot(output, [&](int32_t slot) { graph_.slots[static_cast<std::size_t>(slot)].is_output = true; });
  }
  graph_.is_weight_.assign(graph_.slots.size(), 0);
  for (const Input& input : graph_.inputs) {
    if (input.kind != Input::Kind::user) graph_.is_weight_[static_cast<std::size_t>(input.slot)] = 1;
  }
  for (std::size_t i = 0; i < graph_.modules.size(); ++i) {
    graph_.module_index_.emplace(graph_.modules[i].path, static_cast<int32_t>(i));
  }
}

}  // namespace ta::exported
