#pragma once
// Attention that a graph writes out in two products, read so far that keys and values can be put in front of its own:
//
//   s = f(q kᵀ) + bias      w = softmax(s)      y = dropout(w) v        axes as head_axes.h has them
//
// f: what is the same for all keys: scales, also of k alone, a soft cap (Gemma 2), casts. A bias, or a mask, has a
// value for each key: positions (T5, Swin), products of positions (DeBERTa), what hides (all).

#include <optional>
#include <vector>

#include "core/exported/head_axes.h"

namespace ta::exported {

/// One step of f.
struct ScoreStep {
  enum class Kind { multiply, divide, add, subtract, tanh };
  Kind kind = Kind::multiply;
  int32_t node = -1;
  int32_t slot = -1;  ///< a tensor that is the same for all keys; -1: `number`
  double number = 0;
};

struct WrittenAttention {
  int32_t scores = -1, softmax = -1, product = -1;  ///< nodes
  int32_t query = -1, key = -1;                     ///< slots that the first product reads
  HeadAxes axes;
  PartedHeads parted;
  int64_t size = 0;
  std::vector<ScoreStep> steps;  ///< f, in order
  double dropout = 0;
};

/// Nothing where something stands in it that is not understood: `stopped` is the node at which. `rows`: the size that
/// the stream's rows have.
std::optional<WrittenAttention> read_attention(const Graph& graph, const AttentionCore& core, const Size& rows,
                                               int32_t& stopped);

}  // namespace ta::exported
