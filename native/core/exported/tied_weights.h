#pragma once
// torch.export reads tied weights by one of their names (`lm_head.weight`, also where words are looked up). Here each
// module reads the weight by its own name again, so that it is the module that it is without the other, and adapters
// stand at each for itself.

#include <map>

#include "core/exported/graph.h"
#include "core/state/state_dict.h"

namespace ta::exported {

/// Of parameters that lie in the same memory: each one's name → the first one's.
std::map<std::string, std::string> tied_names(const Graph& graph, const StateDict& weights);

/// Lets embeddings and Linears read the parameters of their own module, where other names stand for them.
void name_tied_weights(Graph& graph, const std::map<std::string, std::string>& tied);

}  // namespace ta::exported
