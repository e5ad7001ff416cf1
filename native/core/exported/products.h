#pragma once
// Products with weights in a graph: which nodes they are, and which of them are a Linear at which LoRA can stand.

#include <optional>
#include <string>
#include <vector>

#include "core/exported/graph.h"

namespace ta::exported {

/// y = x Wᵀ + b: aten.linear, aten.addmm with W the other way round (Conv1D), aten.matmul by `W.T`, or an einsum; b may
/// be added by the next node.
struct Product {
  int32_t node = -1, end = -1;      ///< what multiplies, and what gives y
  int32_t input = -1, output = -1;  ///< slots of x and y
  std::string weight, bias;         ///< names in the state dict; `bias` may be empty
  bool transposed = false;          ///< W is [in, out]
};

/// What the graph's slots are, beside what it says itself.
class Weights {
 public:
  explicit Weights(const Graph& graph);

  /// The parameter that a slot is, or is a mere view of; null: none.
  const Input* parameter(int32_t slot) const;
  /// The parameter that a slot is itself.
  const Input* exactly(int32_t slot) const;
  /// Whether a node multiplies by a parameter.
  bool multiplies(const Node& node) const;
  /// `node`: one that multiplies.
  std::optional<Product> product(int32_t node) const;
  /// The nodes that read a parameter; those that read `W.T` in the place of the node that turns it round.
  std::vector<int32_t> users(const Input& weight) const;
  /// The slot that a value is the same tensor as: through conversions that change nothing.
  int32_t root(int32_t slot) const;

 private:
  const Input* turned(int32_t slot) const;
  std::optional<Product> matmul(int32_t node) const;
  std::optional<Product> einsum(int32_t node) const;
  Product with_bias(Product product) const;

  const Graph& graph_;
  std::vector<const Input*> inputs_;  ///< by slot
};

/// A product of two values, neither of them a weight.
bool multiplies_values(const Weights& weights, const Node& node);

}  // namespace ta::exported
