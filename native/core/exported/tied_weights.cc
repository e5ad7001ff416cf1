#include "core/exported/tied_weights.h"

#include <algorithm>

namespace ta::exported {

std::map<std::string, std::string> tied_names(const Graph& graph, const StateDict& weights) {
  std::map<std::pair<const void*, std::vector<int64_t>>, std::string> first;
  std::map<std::string, std::string> tied;
  for (const auto& input : graph.inputs) {
    const auto* tensor = input.kind == Input::Kind::parameter ? weights.find(input.name) : nullptr;
    if (tensor == nullptr || tensor->numel() == 0) continue;
    const auto [there, is_new] = first.try_emplace({tensor->const_data_ptr(), tensor->sizes().vec()}, input.name);
    if (!is_new) tied[input.name] = there->second;
  }
  return tied;
}

void name_tied_weights(Graph& graph, const std::map<std::string, std::string>& tied) {
  if (tied.empty()) return;
  const auto first_of = [&](const std::string& name) {
    const auto found = tied.find(name);
    return found == tied.end() ? name : found->second;
  };
  std::map<std::string, int32_t> slots;
  std::map<int32_t, std::string> names;
  for (const auto& input : graph.inputs)
    if (input.kind == Input::Kind::parameter) slots[input.name] = input.slot, names[input.slot] = input.name;
  const auto give_own = [&](int32_t index, size_t argument, const char* name) {
    auto& node = graph.nodes[index];
    const auto read = names.find(node.slot(argument));
    const auto own = slots.find(graph.modules[node.module].path + "." + name);
    if (read == names.end() || own == slots.end() || own->second == read->first) return;
    if (first_of(read->second) != first_of(own->first)) return;
    std::erase(graph.slots[read->first].users, index);
    auto& users = graph.slots[own->second].users;
    users.insert(std::lower_bound(users.begin(), users.end(), index), index);
    node.arguments[argument].slot = own->second;
  };
  for (int32_t index = 0; index < static_cast<int32_t>(graph.nodes.size()); ++index) {
    if (graph.nodes[index].module < 0) continue;
    const auto& name = graph.nodes[index].operator_name();
    if (name == "aten.embedding.default") give_own(index, 0, "weight");
    if (name == "aten.linear.default") give_own(index, 1, "weight"), give_own(index, 2, "bias");
  }
}

}  // namespace ta::exported
