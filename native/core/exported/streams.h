#pragma once
// Which rows a value of the graph is of. A network has one stream of tokens, those that come out of it. One with an
// encoder and a decoder has two: what comes out are the decoder's, and its encoder's, the source, come from elsewhere.
// The two have columns of different symbols, by which each value is told apart; one that has both (the scores of
// attention across) is of neither.

#include <string>
#include <vector>

#include "core/exported/graph.h"

namespace ta::exported {

struct Streams {
  std::vector<Size>
      tokens;  ///< [rows, columns] of what comes out, or of the ids that one value a row is made of; [rows]: of numbers
  std::vector<Size> source;  ///< [rows, columns] of what the encoder reads; empty: there is no such

  /// A float32 value with one entry for each token of either.
  bool is_token(const SlotInfo& info) const;
  /// A float32 value with one entry for each row, where the stream is one of tokens: what is pooled, and heads make of
  /// it.
  bool is_row(const SlotInfo& info) const;
  bool of_source(const Graph& graph, const SlotInfo& info) const;
};

}  // namespace ta::exported
