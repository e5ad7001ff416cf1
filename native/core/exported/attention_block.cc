#include "core/exported/attention_block.h"

#include <algorithm>

#include "core/exported/head_axes.h"

namespace ta::exported {

namespace {

bool is_softmax(const Node& node) {
  const auto& name = node.operator_name();
  return name == "aten.softmax.int" || name == "aten._softmax.default" || name == "aten.special_softmax.int";
}

// The two factors of a product of values.
std::pair<int32_t, int32_t> factors(const Node& node) {
  const size_t first = node.operator_name() == "aten.baddbmm.default" ? 1 : 0;
  if (node.operator_name() == "aten.einsum.default") {
    const auto& items = node.arguments[1].items;
    return items.size() == 2 ? std::pair(items[0].slot, items[1].slot) : std::pair(-1, -1);
  }
  return {node.slot(first), node.slot(first + 1)};
}

// A softmax between two products of values, which is how attention is written out.
std::optional<AttentionCore> written_out(const Graph& graph, const Weights& weights, const Ways& ways,
                                         int32_t softmax) {
  const auto is_values = [&](int32_t node) { return multiplies_values(weights, graph.nodes[node]); };
  AttentionCore core;
  for (int32_t scores : ways.nearest(graph.nodes[softmax].slot(0), is_values)) {
    auto [query, key] = factors(graph.nodes[scores]);
    if (keys_come_first(graph, scores, softmax)) std::swap(query, key);
    if (query < 0 || key < 0 || !ways.contains(graph.slots[query].producer)) continue;
    // Where positions have products of their own, queries and keys are those that are both made of the stream.
    const bool both = ways.contains(graph.slots[key].producer);
    if (core.query >= 0 && !both) continue;
    core.query = query, core.key = key, core.scores = scores;
    if (both) break;
  }
  if (core.query < 0) return std::nullopt;
  core.softmax = softmax;
  for (int32_t node : ways.nodes()) {
    if (node <= softmax || !is_values(node)) continue;
    const auto [left, right] = factors(graph.nodes[node]);
    if (left < 0 || right < 0) continue;
    const bool weights_first = ways.made_of(left, softmax);
    if (!weights_first && !ways.made_of(right, softmax)) continue;
    core.node = node, core.value = weights_first ? right : left;
    return core;
  }
  return std::nullopt;
}

// The node that cuts a value into parts, and which part `slot` comes from; {-1, -1} where `until` is met before.
std::pair<int32_t, int32_t> part_of(const Graph& graph, int32_t slot, int32_t until) {
  for (int steps = 0; steps < 64 && slot >= 0; ++steps) {
    const int32_t producer = graph.slots[slot].producer;
    if (producer < 0 || producer == until) break;
    const auto& node = graph.nodes[producer];
    if (node.outputs.size() == 3) {
      const auto found = std::find(node.outputs.begin(), node.outputs.end(), slot);
      return {producer, static_cast<int32_t>(found - node.outputs.begin())};
    }
    // Positions turn queries and keys: all of it is made of the one value.
    int32_t next = -1;
    each_read(node, [&](int32_t read) {
      if (next < 0 && graph.slots[read].producer >= until) next = read;
    });
    slot = next;
  }
  return {-1, -1};
}

std::optional<AttentionCore> attention_at(const Graph& graph, const Weights& weights, const Ways& ways, int32_t node) {
  const auto& one = graph.nodes[node];
  if (one.operator_name() == "aten.scaled_dot_product_attention.default")
    return AttentionCore{node, one.slot(0), one.slot(1), one.slot(2)};
  return is_softmax(one) ? written_out(graph, weights, ways, node) : std::nullopt;
}

// [rows, tokens, 3, heads, size]: the three lie one behind the other.
bool is_outer_three(const std::vector<Size>& shape) {
  return shape.size() == 5 && shape[2].number == 3;
}

}  // namespace

std::optional<AttentionCore> find_attention(const Graph& graph, const Weights& weights, const Ways& ways) {
  for (auto node = ways.nodes().rbegin(); node != ways.nodes().rend(); ++node)
    if (auto core = attention_at(graph, weights, ways, *node)) return core;
  return std::nullopt;
}

std::vector<AttentionCore> find_heads(const Graph& graph, const Weights& weights, const Ways& ways) {
  std::vector<AttentionCore> found;
  for (auto node = ways.nodes().rbegin(); node != ways.nodes().rend(); ++node) {
    const auto core = attention_at(graph, weights, ways, *node);
    const auto is_apart = [&](const AttentionCore& other) {
      return other.node != core->node && !ways.made_of(other.query, core->node) &&
             !ways.made_of(other.key, core->node) && !ways.made_of(other.value, core->node);
    };
    if (core && std::all_of(found.begin(), found.end(), is_apart)) found.push_back(*core);
  }
  std::reverse(found.begin(), found.end());
  return found;
}

bool attends_elsewhere(const Weights& weights, const Graph& graph, const Ways& ways, const AttentionCore& core) {
  const auto is_product = [&](int32_t node) { return weights.multiplies(graph.nodes[node]); };
  return ways.nearest(core.key, is_product).empty() && !ways.nearest(core.query, is_product).empty();
}

bool are_thirds_of(const Graph& graph, const AttentionCore& core, int32_t node) {
  const auto [cut, first] = part_of(graph, core.query, node);
  const auto [cut_key, second] = part_of(graph, core.key, node);
  const auto [cut_value, third] = part_of(graph, core.value, node);
  if (cut < 0 || cut != cut_key || cut != cut_value || first != 0 || second != 1 || third != 2) return false;
  const auto& shape = graph.slots[graph.nodes[cut].slot(0)].shape;
  if (shape.size() == 3) {
    const auto& parts = graph.nodes[cut].outputs;
    return std::all_of(parts.begin(), parts.end(), [&](int32_t part) {
      return part >= 0 && graph.slots[part].shape.size() == 3 &&
             graph.slots[part].shape[2].number * 3 == shape[2].number;
    });
  }
  for (int32_t slot = graph.nodes[cut].slot(0); slot >= 0;) {
    if (is_outer_three(graph.slots[slot].shape)) {
      const int32_t producer = graph.slots[slot].producer;
      const auto& name = graph.nodes[producer].operator_name();
      if (name == "aten.view.default" || name == "aten.reshape.default") return true;
    }
    const int32_t producer = graph.slots[slot].producer;
    if (producer < 0 || producer <= node) return false;
    slot = graph.nodes[producer].slot(0);
  }
  return false;
}

}  // namespace ta::exported
