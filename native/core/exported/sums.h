#pragma once
// Where a value is added to the stream: `out = r + h`, alone or, where sub-layers stand side by side, over several sums
//
//   out = (h₁ + h₂) + r        out = (r + h₁) + h₂
// whose parts nobody else reads. What a dropout that drops nothing, or a conversion that changes nothing, gives is the
// same value.

#include <optional>
#include <vector>

#include "core/exported/paths.h"

namespace ta::exported {

/// One node that adds two values of one shape, none of them scaled.
struct Addition {
  int32_t node = -1, left = -1, right = -1, out = -1;
};

std::optional<Addition> addition(const Graph& graph, int32_t node);

/// What a value is added to.
struct Sum {
  Range nodes;                ///< from the first of its additions to the last; nothing else is made there
  int32_t h = -1;             ///< the value itself, or what dropout leaves of it
  int32_t r = -1;             ///< of the others the first that was made
  std::vector<int32_t> more;  ///< the rest of them
  int32_t out = -1;
};

/// Nothing where `slot` is not added to anything.
std::optional<Sum> sum_of(const Graph& graph, int32_t slot);
/// Whether a node gives one: assertions and sizes do not.
bool makes_tensor(const Graph& graph, const Node& node);
/// The node that alone reads a value; -1: there is none, or it leaves the graph.
int32_t only_reader(const Graph& graph, int32_t slot);
/// Whether nothing that is of use outside is made between two nodes.
bool nothing_between(const Graph& graph, int32_t first, int32_t last);
/// Back through dropout that drops nothing and conversions that change nothing.
int32_t same_value(const Graph& graph, const Weights& weights, int32_t slot);

}  // namespace ta::exported
