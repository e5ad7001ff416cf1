#pragma once
// Runs of nodes that the library has one call for, found by the graph's structure alone:
//
//   attention      y = softmax(q kᵀ / √d + mask) v [Wo + bo]      q, k, v = x Wq + bq, x Wk + bk, x Wv + bv
//                  scaled_dot_product_attention, with views and transpositions around it that part the heads
//   feed-forward   y = act(x W1 + b1) W2 + b2                     gelu, relu, silu, tanh or sigmoid
//   RMSNorm        y = w ∘ x / √(mean(x²) + ε), written out
//   rotation       y = x ∘ cos + (-x₂, x₁) ∘ sin: rotary positions, written out
//
// x [rows, tokens, n]; RMSNorm's of any form, the rotation's [rows, heads, tokens, d].  As one call they are one node
// of the autograd graph, which keeps what the input's gradient reads, and their products take the library's own
// kernels. Nobody outside reads what is made on the way.

#include <array>
#include <vector>

#include "core/exported/products.h"
#include "core/nn/activation.h"

namespace ta::exported {

struct AttentionBlock {
  Range nodes;
  int32_t x = -1, out = -1;  ///< slots
  int32_t mask = -1;         ///< a slot; -1: none
  bool causal = false;       ///< the operator's own flag
  int64_t heads = 0;
  double dropout = 0;                 ///< while training
  std::array<int32_t, 3> products{};  ///< the nodes of query, key and value
  int32_t output = -1;                ///< the node of Wo; -1: y is what the heads give
};

struct FeedForwardBlock {
  Range nodes;
  int32_t x = -1, out = -1;
  int32_t first = -1, second = -1;  ///< the nodes of the products
  ActivationKind act = ActivationKind::gelu;
};

struct RmsNormBlock {
  Range nodes;
  int32_t x = -1, out = -1;
  int32_t weight = -1;  ///< a slot
  double eps = 0;
};

struct RotaryBlock {
  Range nodes;
  int32_t x = -1, cos = -1, sin = -1, out = -1;
};

std::vector<AttentionBlock> find_attention_blocks(const Graph& graph, const Weights& weights);
std::vector<FeedForwardBlock> find_feed_forward_blocks(const Graph& graph, const Weights& weights);
std::vector<RmsNormBlock> find_rms_norm_blocks(const Graph& graph, const Weights& weights);
std::vector<RotaryBlock> find_rotary_blocks(const Graph& graph, const Weights& weights);

}  // namespace ta::exported
