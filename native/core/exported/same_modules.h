#pragma once
// One module under several names, as in `layers = [block, other, block]`. named_modules() of PyTorch has the first name
// alone, and PEFT's folders and checkpoints with it; torch.export has each call by the name that it went by. Which
// names are one module's the export script notes: {"same_modules": {"layers.2": "layers.0", "layers.2.norm": …}}.

#include "core/exported/archive.h"
#include "core/exported/graph.h"

namespace ta::exported {

/// What the archive notes; empty where it has no such note.
SameModules same_modules(const Archive& archive);

/// Takes the parameters and buffers of other names out of a graph: what read them reads the first name's. Gives the
/// names that were taken out, each with the first. ERR_FILE_FORMAT where the two are not the same numbers.
std::map<std::string, std::string> merge_same_modules(Graph& graph, const SameModules& same, const StateDict& weights);

}  // namespace ta::exported
