#pragma once
// Ways through a graph: what is made of a value on the way to another one.

#include <functional>
#include <vector>

#include "core/exported/products.h"

namespace ta::exported {

/// The nodes on all ways from one value to another, ascending. Both are tensors of the main graph.
class Ways {
 public:
  /// Empty where `to` is not made of `from`. `work` counts nodes that were looked at.
  Ways(const Graph& graph, int32_t from, int32_t to, int64_t& work);

  bool empty() const { return nodes_.empty(); }
  const std::vector<int32_t>& nodes() const { return nodes_; }
  bool contains(int32_t node) const;
  /// Of these nodes, those that `slot` is made of, down to the first ones that `stop` says yes to: these, ascending.
  std::vector<int32_t> nearest(int32_t slot, const std::function<bool(int32_t)>& stop) const;
  /// Whether `slot` is made of what this node gives.
  bool made_of(int32_t slot, int32_t node) const;

 private:
  const Graph& graph_;
  std::vector<int32_t> nodes_;
};

/// The slots that a node reads, each argument in turn.
template <class Visit>
void each_read(const Node& node, Visit visit) {
  for (const auto& argument : node.arguments) Graph::each_slot(argument, visit);
}

}  // namespace ta::exported
