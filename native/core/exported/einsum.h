#pragma once
// An einsum of two tensors, read so far that its axes have names.

#include <optional>
#include <string>

#include "core/exported/graph.h"

namespace ta::exported {

/// One letter for each axis. Those of `...` are control characters, the last axis of it the first of them.
struct Einsum {
  int32_t left = -1, right = -1;  ///< slots
  std::string left_axes, right_axes, out_axes;
};

/// Nothing where a node is no einsum of two tensors, or where one of them has an axis twice.
std::optional<Einsum> read_einsum(const Graph& graph, const Node& node);

}  // namespace ta::exported
