#pragma once
// What goes in and comes out of every module of a graph, by the sizes that it was exported with. Sizes that differ from
// call to call are named: `batch` and `sequence` after the first two sizes of the ids, the others as torch.export has
// them.

#include <map>

#include "core/exported/graph.h"
#include "core/models/network.h"

namespace ta::exported {

/// By path. A module without nodes (Identity, ModuleList) takes and gives nothing.
std::map<std::string, ModuleShapes> module_shapes(const Graph& graph);

/// "[batch, sequence, 8]"
std::string shape_text(const Graph& graph, int32_t slot);

}  // namespace ta::exported
