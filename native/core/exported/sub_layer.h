#pragma once
// A place where adapters stand in a graph: what is added to the stream, the LayerNorm that alone reads the sum, and the
// Linears that it is made by. Found by the graph's structure (residuals.h), or behind a module that somebody named
// (named_sub_layers.h): where that is added to nothing, it has no stream, and what it reads stands for it.

#include <optional>
#include <string>
#include <vector>

#include "core/exported/attention_block.h"
#include "core/exported/sums.h"
#include "core/models/model.h"

namespace ta::exported {

/// The name that configurations and explanations have for it: `query_key_value`.
const char* name_of(Location location);

/// A Linear of a sub-layer, as Location names them.
struct PlacedProduct {
  Location location;
  Product product;
};

struct SubLayer {
  int64_t layer = 0;
  Location location = Location::output;  ///< attention or output
  Range nodes;                           ///< the sum, and its LayerNorm; of a module without a sum all that it runs
  int32_t module = -1;                   ///< where its adapters are children
  int32_t h = -1, r = -1, out = -1;      ///< slots; r is -1 where nothing is added to h
  std::vector<int32_t> more;             ///< what is added beside r, another sub-layer's own left out
  int32_t input = -1;                    ///< where r is -1: what the module reads
  bool beside = false;                   ///< attention and feed-forward are added in one sum: in this order
  int32_t norm = -1;                     ///< the node of the LayerNorm; -1: none
  std::vector<PlacedProduct> products;
  std::string merged;  ///< the weight of one product that makes query, key and value in an order of its own
  std::optional<AttentionCore> core;  ///< where its tokens attend to each other
  std::vector<AttentionCore> heads;   ///< that and those beside it, where heads are called one by one
  int32_t core_input = -1;            ///< the slot that its keys are made of
  std::string named;                  ///< by whom; empty: by the graph
};

/// `ways`: on which h is made. `within`: the module that a LayerNorm behind the sum must stand in.
SubLayer make_sub_layer(const Graph& graph, const Weights& weights, const Sum& sum, const Ways& ways, int32_t within);

/// Its Linears and its attention, for a sub-layer that has no sum.
void add_products(const Graph& graph, const Weights& weights, const Ways& ways, SubLayer& into);

/// The outermost module around one whose name is a number (`layers.3`), of those inside `within`; -1: there is none.
int32_t numbered_module(const Graph& graph, int32_t module, int32_t within = -1);

}  // namespace ta::exported
