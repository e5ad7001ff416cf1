#include "core/exported/tree.h"

#include <algorithm>
#include <iterator>

#include "core/error.h"
#include "core/exported/tree_names.h"

namespace ta::exported {

namespace {

bool is_read_behind(const SlotInfo& slot, const Range& nodes) {
  return slot.is_output || (!slot.users.empty() && slot.users.back() > nodes.last);
}

// "from aten.linear.default (node 5, layers.0.router) and …"
std::string calls_text(const Graph& graph, const ModuleInfo& module) {
  std::string result;
  for (const auto& call : module.calls)
    if (!call.nodes.empty()) result += (result.empty() ? "from " : " and ") + graph.describe(call.nodes.first);
  return result;
}

// "add_3 [batch, sequence, 8] and …"
std::string values_text(const Graph& graph, const std::vector<int32_t>& slots) {
  std::string result;
  for (int32_t slot : slots)
    result += (result.empty() ? "" : " and ") + graph.slots[slot].name + " " + shape_text(graph, slot);
  return result;
}

}  // namespace

Tree::Tree(const Graph& graph, const Weights& weights, Streams streams, std::map<std::string, std::string> tied,
           std::set<std::string> own_forwards)
    : graph_(graph),
      weights_(weights),
      streams_(std::move(streams)),
      tied_(std::move(tied)),
      own_forwards_(std::move(own_forwards)),
      root_(std::make_shared<GraphModule>("", nullptr, LayerSize{})) {
  by_path_[""] = root_;
  for (const auto& input : graph.inputs) {
    const bool named = input.kind == Input::Kind::parameter || (input.kind == Input::Kind::buffer && input.persistent);
    if (named) inputs_[input.name] = &input;
  }
  for (const auto& module : graph.modules) parents_.insert(module.parent);
  for (const auto& module : graph.modules)
    if (!module.path.empty()) add_module(module.path, &module);
  for (const auto& input : graph.inputs)
    if (inputs_.contains(input.name) && inputs_[input.name] == &input) add_value(input);
  for (const auto& path : own_forwards_)
    if (!inputs_.contains(path + ".weight")) weightless_linear(path);
}

Module* Tree::find(const std::string& path) const {
  const auto found = by_path_.find(path);
  return found == by_path_.end() ? nullptr : found->second.get();
}

std::map<std::string, at::Tensor*> Tree::values() const {
  std::map<std::string, at::Tensor*> result;
  for (const auto& [path, module] : by_path_)
    for (const auto& parameter : module->own_parameters())
      result[path.empty() ? parameter.name : path + "." + parameter.name] = parameter.value;
  return result;
}

void Tree::add_child(const std::string& path, const std::string& name, std::shared_ptr<Module> module) {
  if (auto* own = dynamic_cast<GraphModule*>(by_path_.at(path).get())) return own->add(name, std::move(module));
  // One of the library's layers, which has no such children: its name is part of the child's.
  parent_of(path).add(last_name(path) + "." + name, std::move(module));
}

LayerNorm* Tree::norm_at(int32_t node) const {
  const auto found = norms_.find(node);
  return found == norms_.end() ? nullptr : found->second;
}

Embedding* Tree::embedding_of(int32_t ids) const {
  const auto found = embeddings_.find(ids);
  return found == embeddings_.end() ? nullptr : found->second;
}

Range Tree::product_at(int32_t node) const {
  for (const auto& linear : linears_)
    for (const auto& product : linear.products)
      if (product.node <= node && node <= product.end) return {product.node, product.end};
  return {node, node};
}

GraphModule& Tree::parent_of(const std::string& path) {
  const auto parent = parent_path(path);
  if (!by_path_.contains(parent)) add_module(parent, nullptr);
  return dynamic_cast<GraphModule&>(*by_path_.at(parent));
}

void Tree::add_module(const std::string& path, const ModuleInfo* module) {
  if (by_path_.contains(path)) return;
  auto& parent = parent_of(path);
  auto* place = module == nullptr ? nullptr : slot_place(*module);
  auto layer = module == nullptr ? nullptr : own_layer(*module);
  if (layer == nullptr) {
    LayerSize size;
    if (place != nullptr)
      size = {graph_.slots[place->input].shape.back().number, graph_.slots[place->output].shape.back().number};
    // A module that runs nothing itself left no class name: a list is told by its children's.
    const bool is_list = graph_.find_module(path + ".0") >= 0;
    const auto type = module == nullptr || module->type.empty() ? is_list ? "ModuleList" : "Module" : module->type;
    layer = std::make_shared<GraphModule>(type, place,
                                          LayerSize{std::max<int64_t>(size.in, 0), std::max<int64_t>(size.out, 0)});
  }
  by_path_[path] = layer;
  if (place == nullptr) {
    parent.add(last_name(path), layer);
    return;
  }
  place->slot = &occupants_.emplace_back();
  place->own = layer;
  parent.add(last_name(path), *place->slot, layer);
}

// What no layer of the library has registered already.
void Tree::add_value(const Input& input) {
  const auto path = parent_path(input.name);
  auto& owner =
      *(by_path_.contains(path) ? by_path_.at(path).get() : (add_module(path, nullptr), by_path_.at(path).get()));
  const auto name = last_name(input.name);
  for (const auto& parameter : owner.own_parameters())
    if (parameter.name == name) return;
  if (bare_linear(input) || whole_linear(input)) return;
  const bool is_bias = name == "bias";
  dynamic_cast<GraphModule&>(owner).add({.name = name,
                                         .shape = numbers(graph_.slots[input.slot].shape),
                                         .init = Init::zeros,
                                         .decay = !is_bias && graph_.slots[input.slot].shape.size() > 1,
                                         .buffer = input.kind == Input::Kind::buffer});
}

const Input* Tree::value_of(const ModuleInfo& module, const char* name) const {
  const auto found = inputs_.find(module.path + "." + name);
  return found == inputs_.end() ? nullptr : found->second;
}

bool Tree::is_token(int32_t slot) const {
  return slot >= 0 && streams_.is_token(graph_.slots[slot]);
}

bool Tree::is_row(int32_t slot) const {
  return slot >= 0 && streams_.is_row(graph_.slots[slot]);
}

// Where PyTorch's call takes one value a token, or a row, first, and gives one and no more of them.
SlotPlace* Tree::slot_place(const ModuleInfo& module) {
  if (module.calls.size() != 1) {
    unclear_modules_[module.path] =
        text("the network calls it ", module.calls.size(), " times, ", calls_text(graph_, module));
    return nullptr;
  }
  const auto& call = module.calls[0];
  if (call.nodes.empty() || !call.contiguous) return nullptr;
  std::vector<int32_t> inputs, outputs;
  if (call.has_signature) {
    const auto first = std::find_if(call.inputs.begin(), call.inputs.end(), [](int32_t slot) { return slot >= 0; });
    if (first != call.inputs.end()) inputs = {*first};
    // What nobody reads, such as weights of attention that are only handed on, is no value that could be meant.
    for (int32_t slot : call.outputs)
      if (slot >= 0 && is_read_behind(graph_.slots[slot], call.nodes)) outputs.push_back(slot);
  } else {
    const auto entering = graph_.entering(call.nodes);
    std::copy_if(entering.begin(), entering.end(), std::back_inserter(inputs),
                 [&](int32_t slot) { return is_token(slot); });
    if (inputs.empty())
      std::copy_if(entering.begin(), entering.end(), std::back_inserter(inputs),
                   [&](int32_t slot) { return is_row(slot); });
    outputs = graph_.leaving(call.nodes);
  }
  if (outputs.size() > 1) unclear_modules_[module.path] = "it gives several values, " + values_text(graph_, outputs);
  if (outputs.size() == 1 && inputs.size() > 1)
    unclear_modules_[module.path] = "it takes several values, " + values_text(graph_, inputs);
  if (inputs.size() != 1 || outputs.size() != 1 || inputs == outputs) return nullptr;
  const bool of_rows = is_row(inputs[0]) && is_row(outputs[0]);
  if (!of_rows && (!is_token(inputs[0]) || !is_token(outputs[0]))) return nullptr;
  // A value that the module only hands through is none that others could be told from.
  if (!call.nodes.contains(graph_.slots[outputs[0]].producer)) return nullptr;
  const auto of_source = [&](int32_t slot) { return streams_.of_source(graph_, graph_.slots[slot]); };
  const bool source = of_source(inputs[0]);
  if (source != of_source(outputs[0])) return nullptr;
  return &slots_.emplace_back(
      SlotPlace{module.path, nullptr, nullptr, call.nodes, inputs[0], outputs[0], source, of_rows});
}

std::shared_ptr<Layer> Tree::own_layer(const ModuleInfo& module) {
  const auto* weight = value_of(module, "weight");
  if (weight == nullptr || weight->kind != Input::Kind::parameter) return nullptr;
  // A module of the library has these parameters and no others, and no children.
  if (parents_.contains(graph_.find_module(module.path))) return nullptr;
  const auto below = module.path + ".";
  for (auto one = inputs_.lower_bound(below); one != inputs_.end() && one->first.starts_with(below); ++one) {
    const auto name = one->first.substr(below.size());
    if (name != "weight" && name != "bias") return nullptr;
  }
  if (const auto tied = tied_.find(weight->name); tied != tied_.end()) {
    const auto first = by_path_.find(parent_path(tied->second));
    auto layer = first == by_path_.end() ? nullptr : std::dynamic_pointer_cast<Embedding>(first->second);
    if (layer != nullptr && module.type == "Embedding") return layer;
  }
  if (auto layer = linear(module)) return layer;
  if (auto layer = norm(module)) return layer;
  return embedding(module);
}

std::shared_ptr<Layer> Tree::norm(const ModuleInfo& module) {
  const auto *weight = value_of(module, "weight"), *bias = value_of(module, "bias");
  const auto& users = graph_.slots[weight->slot].users;
  if (bias == nullptr || users.empty()) return nullptr;
  for (int32_t user : users) {
    const auto& node = graph_.nodes[user];
    const bool here =
        node.operator_name() == "aten.layer_norm.default" && node.slot(2) == weight->slot && node.slot(3) == bias->slot;
    if (!here) return nullptr;
  }
  const auto shape = numbers(graph_.slots[weight->slot].shape);
  if (shape.size() != 1) return nullptr;
  const double eps = graph_.nodes[users[0]].arguments[4].value.toDouble();
  auto layer = std::make_shared<LayerNorm>(shape[0], eps);
  for (int32_t user : users) norms_[user] = layer.get();
  return layer;
}

std::shared_ptr<Layer> Tree::embedding(const ModuleInfo& module) {
  const auto* weight = value_of(module, "weight");
  const auto& users = graph_.slots[weight->slot].users;
  const auto shape = numbers(graph_.slots[weight->slot].shape);
  if (users.empty() || shape.size() != 2 || value_of(module, "bias") != nullptr) return nullptr;
  for (int32_t user : users) {
    const auto& node = graph_.nodes[user];
    if (node.operator_name() != "aten.embedding.default" || node.slot(0) != weight->slot) return nullptr;
  }
  const int64_t padding = graph_.nodes[users[0]].arguments[2].value.toInt();
  auto layer = std::make_shared<Embedding>(shape[0], shape[1], padding);
  for (int32_t user : users) {
    // GPT-2 gives its ids another form first.
    int32_t ids = graph_.nodes[user].slot(1);
    const int32_t producer = ids < 0 ? -1 : graph_.slots[ids].producer;
    if (producer >= 0 && graph_.nodes[producer].operator_name() == "aten.view.default")
      ids = graph_.nodes[producer].slot(0);
    embeddings_[ids] = layer.get();
  }
  return layer;
}

}  // namespace ta::exported
