#include "core/exported/sums.h"

#include <algorithm>

namespace ta::exported {

namespace {

bool is_unscaled(const Argument& argument) {
  return argument.kind == Argument::Kind::constant && argument.value.isScalar() &&
         argument.value.toScalar().toDouble() == 1;
}

bool is_drop(const Node& node) {
  return node.operator_name() == "aten.dropout.default" || node.operator_name() == "aten.dropout_.default";
}

bool drops_nothing(const Node& node) {
  const auto& rate = node.arguments[1];
  return rate.kind == Argument::Kind::constant && rate.value.isScalar() && rate.value.toScalar().toDouble() == 0;
}

// A node that hands its value on, but for dropout where `dropped` says so.
bool hands_on(const Graph& graph, const Node& node, bool dropped) {
  if (is_drop(node)) return dropped || drops_nothing(node);
  const auto& name = node.operator_name();
  if (name != "aten.to.dtype" && name != "aten.contiguous.default" && name != "aten.alias.default") return false;
  const int32_t from = node.slot(0), to = node.outputs[0];
  return from >= 0 && to >= 0 && graph.slots[from].dtype == graph.slots[to].dtype &&
         graph.slots[from].shape == graph.slots[to].shape;
}

}  // namespace

bool makes_tensor(const Graph& graph, const Node& node) {
  return std::any_of(node.outputs.begin(), node.outputs.end(),
                     [&](int32_t slot) { return slot >= 0 && graph.slots[slot].is_tensor; });
}

std::optional<Addition> addition(const Graph& graph, int32_t index) {
  const auto& node = graph.nodes[index];
  const bool in_place = node.operator_name() == "aten.add_.Tensor";
  if (!in_place && node.operator_name() != "aten.add.Tensor") return std::nullopt;
  const int32_t left = node.slot(0), right = node.slot(1);
  if (left < 0 || right < 0 || left == right || node.outputs[0] < 0 || !is_unscaled(node.arguments[2]))
    return std::nullopt;
  const auto& shape = graph.slots[node.outputs[0]].shape;
  if (shape.empty() || graph.slots[left].shape != shape || graph.slots[right].shape != shape) return std::nullopt;
  // What an in-place sum wrote over must not be read again.
  if (in_place && graph.slots[left].users.back() > index) return std::nullopt;
  return Addition{index, left, right, node.outputs[0]};
}

int32_t only_reader(const Graph& graph, int32_t slot) {
  const auto& info = graph.slots[slot];
  if (info.is_output) return -1;
  int32_t reader = -1;
  for (int32_t user : info.users) {
    // Assertions read a value's type.
    if (!makes_tensor(graph, graph.nodes[user])) continue;
    if (reader >= 0) return -1;
    reader = user;
  }
  return reader;
}

bool nothing_between(const Graph& graph, int32_t first, int32_t last) {
  for (int32_t between = first + 1; between < last; ++between)
    if (makes_tensor(graph, graph.nodes[between])) return false;
  return true;
}

int32_t same_value(const Graph& graph, const Weights& weights, int32_t slot) {
  for (slot = weights.root(slot); slot >= 0; slot = weights.root(slot)) {
    const int32_t producer = graph.slots[slot].producer;
    if (producer < 0 || !is_drop(graph.nodes[producer]) || !drops_nothing(graph.nodes[producer])) break;
    slot = graph.nodes[producer].slot(0);
  }
  return slot;
}

std::optional<Sum> sum_of(const Graph& graph, int32_t slot) {
  Sum sum;
  std::vector<int32_t> others, same;  // the rest; and what the value is called on its way
  const auto on_the_way = [&](int32_t node) {
    return !makes_tensor(graph, graph.nodes[node]) ||
           std::find(same.begin(), same.end(), graph.nodes[node].outputs[0]) != same.end();
  };
  for (int32_t at = slot;;) {
    const int32_t reader = only_reader(graph, at);
    if (reader < 0) break;
    const bool first = others.empty();
    if (const auto one = addition(graph, reader)) {
      bool apart = false;
      for (int32_t node = sum.nodes.last + 1; !first && node < reader; ++node) apart = apart || !on_the_way(node);
      if (apart) break;
      if (first) sum.h = at, sum.nodes.first = reader;
      others.push_back(one->left == at ? one->right : one->left);
      sum.nodes.last = reader;
      sum.out = at = one->out;
    } else if (hands_on(graph, graph.nodes[reader], first)) {
      at = graph.nodes[reader].outputs[0];
      same.push_back(at);
    } else {
      break;
    }
  }
  if (others.empty()) return std::nullopt;
  const auto earliest = std::min_element(others.begin(), others.end(), [&](int32_t a, int32_t b) {
    return graph.slots[a].producer < graph.slots[b].producer;
  });
  sum.r = *earliest;
  others.erase(earliest);
  sum.more = std::move(others);
  return sum;
}

}  // namespace ta::exported
