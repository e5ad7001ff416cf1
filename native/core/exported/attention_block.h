#pragma once
// The Linears of a sub-layer, by what they feed: query, key and value of its attention, what comes behind the heads,
// and the two steps of a feed-forward block (the first of which may be two side by side, one of them a gate).

#include "core/exported/paths.h"

namespace ta::exported {

/// Where tokens attend to each other: the three values that go in, and the node that gives what comes out.
struct AttentionCore {
  int32_t node = -1;
  int32_t query = -1, key = -1, value = -1;  ///< slots
  int32_t scores = -1, softmax = -1;         ///< nodes, where it is written out in two products; -1: in one operator
};

/// The last one among these nodes; nothing where there is none.
std::optional<AttentionCore> find_attention(const Graph& graph, const Weights& weights, const Ways& ways);
/// The last one, and those beside it, which it is not made of, ascending: heads that a network calls one by one.
std::vector<AttentionCore> find_heads(const Graph& graph, const Weights& weights, const Ways& ways);

/// Whether its keys are made of something else than its queries are.
bool attends_elsewhere(const Weights& weights, const Graph& graph, const Ways& ways, const AttentionCore& core);

/// Whether query, key and value are the first, second and third third of the features that a node gives.
bool are_thirds_of(const Graph& graph, const AttentionCore& core, int32_t node);

}  // namespace ta::exported
