#pragma once
// Which modules of a model's tree are those of PyTorch's named_modules(): the network's own, and after surgery what it
// put there. Places of the library (`loras`, `attention_adapters`, `heads` …) stand in the same tree and are none of
// them.

#include <set>
#include <string>

#include "core/nn/module.h"

namespace ta::exported {

class ExportedModel;

/// Their paths below `root`, which is that of the model with its heads.
std::set<std::string> listed_modules(const ExportedModel& model, const Module& root);

}  // namespace ta::exported
