#include "core/exported/same_modules.h"

#include <ATen/ops/equal.h>

#include <algorithm>

#include "core/error.h"
#include "core/exported/json_fields.h"

namespace ta::exported {

namespace {

void read_instead(Argument& argument, const std::map<int32_t, int32_t>& slots) {
  const auto change = [&](int32_t& slot) {
    if (const auto found = slots.find(slot); found != slots.end()) slot = found->second;
  };
  if (argument.kind == Argument::Kind::slot) change(argument.slot);
  for (auto& item : argument.items) change(item.slot);
}

bool is_same(const StateDict& weights, const std::string& one, const std::string& other) {
  const auto *a = weights.find(one), *b = weights.find(other);
  if (a == nullptr || b == nullptr || a->sizes() != b->sizes() || a->scalar_type() != b->scalar_type()) return false;
  return a->const_data_ptr() == b->const_data_ptr() || at::equal(*a, *b);
}

}  // namespace

SameModules same_modules(const Archive& archive) {
  SameModules same;
  const auto note = archive.extra().find("torch_adapters.json");
  if (note == archive.extra().end()) return same;
  try {
    const auto json = parse_json(note->second, note->first);
    const auto* names = optional_field(json, "same_modules");
    if (names == nullptr) return same;
    for (const auto& [name, first] : names->as_object("same_modules")) same[name] = first.as_string("same_modules");
  } catch (const Error&) {
    same.clear();  // who reads all of the note says what is wrong with it
  }
  std::erase_if(same, [&](const auto& entry) { return entry.first.empty() || same.contains(entry.second); });
  return same;
}

std::map<std::string, std::string> merge_same_modules(Graph& graph, const SameModules& same, const StateDict& weights) {
  std::map<std::string, std::string> names;
  std::map<std::string, int32_t> slots;
  std::map<int32_t, int32_t> instead;
  for (const auto& input : graph.inputs)
    if (input.kind != Input::Kind::user && input.persistent) slots[input.name] = input.slot;
  for (const auto& [name, slot] : slots) {
    const auto dot = name.rfind('.');
    const auto found = dot == std::string::npos ? same.end() : same.find(name.substr(0, dot));
    if (found == same.end()) continue;
    const auto first = (found->second.empty() ? "" : found->second + ".") + name.substr(dot + 1);
    if (!slots.contains(first) || !is_same(weights, first, name)) {
      fail(ErrorCode::file_format, "load the exported model",
           text("the archive notes that '", found->first, "' and '", found->second, "' are one module"),
           {.expected = text("one tensor for '", first, "' and '", name, "'"), .hint = "Export the model again"});
    }
    names[name] = first, instead[slot] = slots.at(first);
  }
  if (instead.empty()) return names;
  const auto in_nodes = [&](std::vector<Node>& nodes) {
    for (auto& node : nodes)
      for (auto& argument : node.arguments) read_instead(argument, instead);
  };
  in_nodes(graph.nodes);
  for (auto& branch : graph.branches) {
    in_nodes(branch.nodes);
    for (auto& output : branch.outputs) read_instead(output, instead);
  }
  for (auto& output : graph.outputs) read_instead(output, instead);
  for (const auto& [other, first] : instead) {
    auto &users = graph.slots[first].users, &moved = graph.slots[other].users;
    users.insert(users.end(), moved.begin(), moved.end());
    std::sort(users.begin(), users.end());
    users.erase(std::unique(users.begin(), users.end()), users.end());
    moved.clear();
  }
  std::erase_if(graph.inputs, [&](const Input& input) { return instead.contains(input.slot); });
  return names;
}

}  // namespace ta::exported
