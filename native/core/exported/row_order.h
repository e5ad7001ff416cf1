#pragma once
// How a batch's rows lie in a value of the graph. Most have them first; PyTorch's own attention has the tokens first,
// and some operators take both as one size, in the one order or the other.

#include "core/exported/graph.h"

namespace ta::exported {

enum class RowOrder : uint8_t {
  rows,    ///< [rows, tokens, n] or [rows · tokens, n]
  own,     ///< [rows, …, n]: as many for each row, which are not its tokens
  tokens,  ///< [tokens, rows, n] or [tokens · rows, n]
  shared   ///< all rows share it, or nothing tells whose it is
};

/// `tokens`: the first sizes of a value with one entry a token, or a row.
RowOrder row_order(const Graph& graph, const std::vector<Size>& tokens, int32_t slot);

}  // namespace ta::exported
