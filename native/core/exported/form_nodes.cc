#include "core/exported/form_nodes.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/equal.h>
#include <c10/core/InferenceMode.h>
#include <c10/core/ScalarType.h>

#include <algorithm>

#include "core/exported/operators.h"

namespace ta::exported {

namespace {

template <class Use>
bool all_slots(const Node& node, const Use& use) {
  for (const Argument& argument : node.arguments) {
    if (argument.kind == Argument::Kind::branch) return false;
    if (argument.kind == Argument::Kind::slot && !use(argument.slot)) return false;
    for (const Argument::Item& item : argument.items)
      if (item.slot >= 0 && !use(item.slot)) return false;
  }
  return true;
}

// Of a value's sizes alone.
bool is_size(const Node& node) {
  const std::string& name = node.operator_name();
  return name == "aten.sym_size.int" || name == "aten.sym_numel.default";
}

// Whether whole numbers tell of places, not of what stands there: no table is looked up with them, nor with what is
// computed of them. `slot`: theirs.
bool tells_form(const Graph& graph, int32_t slot) {
  const SlotInfo& start = graph.slots[static_cast<std::size_t>(slot)];
  if (!start.dtype || !c10::isIntegralType(*start.dtype, /*includeBool=*/true)) return false;
  std::vector<bool> reached(graph.slots.size());
  reached[static_cast<std::size_t>(slot)] = true;
  for (const Node& node : graph.nodes) {
    if (all_slots(node, [&](int32_t read) { return !reached[static_cast<std::size_t>(read)]; })) continue;
    // Behind a product with weights it is a state of the model.
    if (is_size(node) || node.operator_name() == "aten.linear.default") continue;
    if (node.operator_name() == "aten.embedding.default") {
      if (const int32_t ids = node.slot(1); ids >= 0 && reached[static_cast<std::size_t>(ids)]) return false;
      continue;
    }
    for (const int32_t output : node.outputs)
      if (output >= 0) reached[static_cast<std::size_t>(output)] = true;
  }
  return true;
}

bool is_random(const Node& node) {
  return node.op->handle && node.op->handle->hasTag(at::Tag::nondeterministic_seeded);
}
// detach_ changes no value.
bool writes(const Node& node) {
  if (node.operator_name() == "aten.detach_.default") return false;
  return std::find(node.op->writes.begin(), node.op->writes.end(), true) != node.op->writes.end();
}
}  // namespace

FormNodes::FormNodes(const Graph& graph) : nodes(graph.nodes.size()) {
  std::vector<bool> known(graph.slots.size());
  std::size_t user = 0;
  std::vector<std::pair<int32_t, std::size_t>> told;
  for (const Input& input : graph.inputs) {
    const bool is_user = input.kind == Input::Kind::user;
    const bool tells = is_user && tells_form(graph, input.slot);
    if (tells) told.emplace_back(input.slot, user);
    if (is_user) ++user;
    known[static_cast<std::size_t>(input.slot)] =
        tells || input.kind == Input::Kind::constant || (input.kind == Input::Kind::buffer && !input.persistent);
  }
  const auto is_known = [&](int32_t slot) { return known[static_cast<std::size_t>(slot)]; };
  std::vector<bool> read(graph.slots.size());
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node& node = graph.nodes[i];
    const bool changes = writes(node);
    if (changes && !all_slots(node, [&](int32_t slot) { return !is_known(slot); })) {
      std::fill(nodes.begin(), nodes.end(), false);
      return;
    }
    if (node.kind == Node::Kind::cond || changes || is_random(node)) continue;
    if (!is_size(node) && !all_slots(node, is_known)) continue;
    nodes[i] = true;
    if (!is_size(node)) all_slots(node, [&](int32_t slot) { return read[static_cast<std::size_t>(slot)] = true; });
    for (const int32_t output : node.outputs)
      if (output >= 0) known[static_cast<std::size_t>(output)] = true;
  }
  for (const auto& [slot, index] : told)
    if (read[static_cast<std::size_t>(slot)]) sources.push_back(index);
}

FormValues::FormValues(const std::vector<at::Tensor>& inputs, const std::vector<std::size_t>& sources, bool training,
                       int32_t last)
    : training_(training), inference_(c10::InferenceMode::is_enabled()), last_(last) {
  for (const auto& input : inputs) sizes_.push_back(input.sizes().vec());
  for (const std::size_t i : sources) sources_.push_back(inputs[i].clone());
}

bool FormValues::fits(const std::vector<at::Tensor>& inputs, const std::vector<std::size_t>& sources,
                      bool training) const {
  if (training != training_ || c10::InferenceMode::is_enabled() != inference_) return false;
  for (std::size_t i = 0; i < inputs.size(); ++i)
    if (inputs[i].sizes() != at::IntArrayRef(sizes_[i])) return false;
  for (std::size_t i = 0; i < sources.size(); ++i)
    if (!at::equal(inputs[sources[i]], sources_[i])) return false;
  return true;
}

void FormValues::add(int32_t slot, const c10::IValue& value) {
  if (value.isTensor()) numbers_ += value.toTensor().numel();
  if (small()) values_.emplace_back(slot, value);
}

}  // namespace ta::exported
