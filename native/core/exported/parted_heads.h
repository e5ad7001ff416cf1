#pragma once
// How heads lie in a value that attention reads, told by where the graph parts them:
//
//   [rows, heads, tokens, d]; the same with rows and heads in one axis, either of them first; [rows, tokens, d]: one
//   head; [tokens, rows · heads, d] turned round, as nn.MultiheadAttention does

#include <ATen/core/Tensor.h>

#include <optional>

#include "core/exported/graph.h"

namespace ta::exported {

struct PartedHeads {
  int64_t heads = 0, key_heads = 0;  ///< key_heads: before each is repeated for several of the queries
  bool heads_first = false;          ///< heads · rows
  bool operator==(const PartedHeads&) const = default;
};

/// Of a value [.., tokens, size]; nothing where that is not told: `stopped` is then the node at which. `rows`: the size
/// that the stream's rows have.
std::optional<PartedHeads> read_heads(const Graph& graph, int32_t slot, const Size& rows, int64_t size,
                                      int32_t& stopped);

/// [rows · heads, ..] → [rows, heads, ..], whichever of the two is first.
at::Tensor heads_apart(const at::Tensor& joined, const PartedHeads& parted);
/// [rows, heads, ..] ↔ as they are in the graph.
at::Tensor rows_first(const at::Tensor& apart, const PartedHeads& parted);

/// How many heads the keys have before each is repeated for several of the queries' `heads`, which are on that axis of
/// a value with four.
int64_t heads_before_repeat(const Graph& graph, int32_t slot, int64_t heads, size_t axis = 1);

/// Another form of the same numbers, in the same order.
bool reshapes(const Node& node);
/// The same numbers in another type or another place.
bool keeps_values(const Node& node);

}  // namespace ta::exported
