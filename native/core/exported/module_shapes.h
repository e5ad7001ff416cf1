#pragma once
// What goes in and comes out of every module of a graph, by the sizes that it was exported with. Sizes that differ from
// call to call are named: `batch` and `sequence` after the first two sizes of the ids, `tokens` where there are other
// numbers of them, and the others as what they are computed by (expression_text.h).

#include <map>

#include "core/exported/graph.h"
#include "core/models/network.h"

namespace ta::exported {

/// By path. A module without nodes (Identity, ModuleList) takes and gives nothing.
/// `tokens`: [rows, columns] of what comes out.
std::map<std::string, ModuleShapes> module_shapes(const Graph& graph, const std::vector<Size>& tokens);

/// "[batch, sequence, 8]"
std::string shape_text(const Graph& graph, int32_t slot);

}  // namespace ta::exported
