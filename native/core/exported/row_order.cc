#include "core/exported/row_order.h"

#include <algorithm>

namespace ta::exported {

namespace {

constexpr int kFarthest = 64;

// [a, b, …] → [a · b, n]: what stands behind the first two sizes is n.
bool joins_first_two(const std::vector<Size>& from, int64_t features) {
  int64_t behind = 1;
  for (size_t i = 2; i < from.size(); ++i) {
    if (from[i].number < 1) return false;
    behind *= from[i].number;
  }
  return behind == features;
}

// The first value that a node reads.
int32_t first_read(const Node& node) {
  const size_t first = node.operator_name() == "aten.addmm.default" ? 1 : 0;
  return node.slot(first);
}

}  // namespace

RowOrder row_order(const Graph& graph, const std::vector<Size>& tokens, int32_t slot) {
  if (tokens.empty()) return RowOrder::shared;
  // `shape` has a size for the features behind these.
  const auto by_sizes = [&](const std::vector<Size>& shape) {
    if (shape.size() == tokens.size() + 1 && std::equal(tokens.begin(), tokens.end(), shape.begin()))
      return RowOrder::rows;
    if (shape[0] == tokens[0]) return RowOrder::own;
    const bool swapped = shape.size() == 3 && tokens.size() == 2 && shape[0] == tokens[1] && shape[1] == tokens[0];
    return swapped ? RowOrder::tokens : RowOrder::shared;
  };
  const auto& shape = graph.slots[slot].shape;
  if (shape.size() < 2) return RowOrder::shared;
  if (shape.size() > 2 || shape[0] == tokens[0]) return by_sizes(shape);
  // Where rows and tokens are one size, what it was made of tells.
  for (int steps = 0; steps < kFarthest; ++steps) {
    const int32_t producer = graph.slots[slot].producer;
    const int32_t before = producer < 0 ? -1 : first_read(graph.nodes[producer]);
    if (before < 0) break;
    const auto &own = graph.slots[slot].shape, &from = graph.slots[before].shape;
    if (from.size() > 2) {
      const bool joined = joins_first_two(from, own[1].number);
      return joined ? by_sizes({from[0], from[1], own[1]}) : RowOrder::shared;
    }
    if (from.size() != 2 || !(from[0] == own[0])) break;
    slot = before;
  }
  return RowOrder::shared;
}

}  // namespace ta::exported
